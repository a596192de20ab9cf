// Launcher of the sum of two tensors.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

struct AddArgs {
  const void* a;  // [count]
  const void* b;  // [count]
  void* y;        // [count]; may be a or b itself
  std::int64_t count;
  DType dtype;
};

template <class World>
void add_forward(const AddArgs& args, Stream stream);

}  // namespace epitaxy
