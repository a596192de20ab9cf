// Launchers of normalisation, ReLU and max pooling in one pass, and of its backward passes.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/pool2d.h"

namespace epitaxy {

struct BatchNormMaxPool2dArgs {
  const void* x;  // [n, h, w, c]
  const float *mean, *inverse_std, *gamma, *beta;
  void* y;                // [n, p, q, c], forward
  std::uint8_t* index;    // [n, p, q, c]; read backward
  const void* dy;         // [n, p, q, c], backward
  float *dgamma, *dbeta;  // written by the reduction; read, or null, by the input gradient
  float* partials;        // the reduction's [tiles, 2, c]
  void* dx;               // the input gradient's
  PoolShape shape;
  DType dtype;

  EPITAXY_HOST_DEVICE std::int64_t pixels() const { return shape.n * shape.h * shape.w; }
};

template <class World>
void batch_norm_max_pool2d(const BatchNormMaxPool2dArgs& args, Stream stream);
template <class World>
void batch_norm_max_pool2d_reduce(const BatchNormMaxPool2dArgs& args, Stream stream);
template <class World>
void batch_norm_max_pool2d_input_gradient(const BatchNormMaxPool2dArgs& args, Stream stream);

}  // namespace epitaxy
