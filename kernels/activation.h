// Activation launchers: plain C++ arguments, one declaration for every world.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/ops/activation.h"

namespace epitaxy {

struct ActivationArgs {
  const void* x;   // [count]; the saved tensor in the gradient
  const void* dy;  // [count]; gradient only
  void* y;         // [count]; dx in the gradient. May be x or dy itself.
  std::int64_t count;
  DType dtype;
  Activation kind;
  float slope;
};

template <class World>
void activation_forward(const ActivationArgs& args, Stream stream);
template <class World>
void activation_backward(const ActivationArgs& args, Stream stream);

}  // namespace epitaxy
