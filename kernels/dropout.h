// Launcher of inverted dropout; the gradient is the same on dy.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

struct DropoutArgs {
  const void* x;             // [count]
  const std::int64_t* step;  // [1] on the device
  void* y;                   // [count]; may be x itself
  std::int64_t count;
  DType dtype;
  float rate;
  std::uint64_t seed;
  std::uint32_t ordinal;
};

/// uniform(bits) >= rate exactly when bits >> 8 >= this, for rate in [0, 1].
inline std::uint32_t dropout_threshold(float rate) {
  const float scaled = rate * 0x1p24f;  // exact: a change of exponent
  const auto whole = static_cast<std::uint32_t>(scaled);
  return static_cast<float>(whole) < scaled ? whole + 1 : whole;
}

template <class World>
void dropout_forward(const DropoutArgs& args, Stream stream);

}  // namespace epitaxy
