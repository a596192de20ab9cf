// Launchers of softmax and log-softmax over rows.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

struct SoftmaxArgs {
  const void* x;   // [rows, columns]; y in the gradient
  const void* dy;  // [rows, columns]; gradient only
  void* y;         // [rows, columns]; dx in the gradient. May be x or dy itself.
  std::int64_t rows, columns;
  DType dtype;
  bool log;
};

template <class World>
void softmax_forward(const SoftmaxArgs& args, Stream stream);
template <class World>
void softmax_backward(const SoftmaxArgs& args, Stream stream);

}  // namespace epitaxy
