// Launchers of batch normalisation's parts. Tensors are [pixels, channels].
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

struct BatchNormStatisticsArgs {
  const void* x;
  float* partials;  // [tiles, 2, channels], the tiles of pixel_tiles()
  std::int64_t pixels, channels;
  DType dtype;
};

struct BatchNormFinalizeArgs {
  const float* partials;                   // [tiles, 2, channels]
  const float *old_mean, *old_variance;    // running values before; may be the new ones' memory
  float *mean, *inverse_std;               // of the batch
  float *running_mean, *running_variance;  // after
  std::int64_t tiles, pixels, channels;    // tile t holds min(size, pixels - t * size) pixels, size = ceil(pixels / tiles)
  float epsilon, momentum;
};

struct BatchNormInferenceArgs {
  const float *running_mean, *running_variance;
  float *mean, *inverse_std;
  std::int64_t channels;
  float epsilon;
};

struct BatchNormApplyArgs {
  const void* x;
  const float *mean, *inverse_std, *gamma, *beta;
  void* y;  // may be x
  std::int64_t pixels, channels;
  DType dtype;
};

struct BatchNormReduceArgs {
  const void *x, *dy;
  const float *mean, *inverse_std;
  float *dgamma, *dbeta;
  float* partials;  // [tiles, 2, channels]
  std::int64_t pixels, channels;
  DType dtype;
};

struct BatchNormInputGradientArgs {
  const void *x, *dy;
  const float *mean, *inverse_std, *gamma, *dgamma, *dbeta;
  void* dx;  // may be dy or x
  std::int64_t pixels, channels;
  DType dtype;
  bool training;
};

template <class World>
void batch_norm_statistics(const BatchNormStatisticsArgs& args, Stream stream);
template <class World>
void batch_norm_finalize(const BatchNormFinalizeArgs& args, Stream stream);
template <class World>
void batch_norm_inference(const BatchNormInferenceArgs& args, Stream stream);
template <class World>
void batch_norm_apply(const BatchNormApplyArgs& args, Stream stream);
template <class World>
void batch_norm_reduce(const BatchNormReduceArgs& args, Stream stream);
template <class World>
void batch_norm_input_gradient(const BatchNormInputGradientArgs& args, Stream stream);

}  // namespace epitaxy
