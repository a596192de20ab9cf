// Launcher of the conversion between floating types.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

struct CastArgs {
  const void* x;  // [count]
  void* y;        // [count]
  std::int64_t count;
  DType from, to;
};

template <class World>
void cast_forward(const CastArgs& args, Stream stream);

}  // namespace epitaxy
