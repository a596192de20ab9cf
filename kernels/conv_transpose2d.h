// The parts of a transposed convolution that conv2d's input gradient leaves: the reference, and the bias on a CPU.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

struct ConvTranspose2dArgs {
  const void* x;       // [n, h, w, c]
  const void* filter;  // [c, r, s, k]
  const float* bias;   // [k] or null
  void* y;             // [n, h * r, w * s, k]
  std::int64_t n, h, w, c, r, s, k;
  DType dtype;
  bool tf32;
};

template <class World>
void conv_transpose2d(const ConvTranspose2dArgs& args, Stream stream);  // Reference

struct AddBiasArgs {
  void* y;            // [pixels, channels]
  const float* bias;  // [channels]
  std::int64_t pixels, channels;
  DType dtype;
};

/// y += bias, rounded.
template <class World>
void conv_transpose2d_bias(const AddBiasArgs& args, Stream stream);  // Host

}  // namespace epitaxy
