// Launchers of the concatenation of rows and of its reverse.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"

namespace epitaxy {

struct ConcatArgs {
  const void *a, *b;  // rows of a_bytes and b_bytes
  void* y;            // rows of both
  std::int64_t rows, a_bytes, b_bytes;
};

struct ConcatGradientArgs {
  const void* dy;
  void *da, *db;
  std::int64_t rows, a_bytes, b_bytes;
};

template <class World>
void concat_forward(const ConcatArgs& args, Stream stream);
template <class World>
void concat_backward(const ConcatGradientArgs& args, Stream stream);

}  // namespace epitaxy
