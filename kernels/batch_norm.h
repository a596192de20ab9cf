// Launchers of batch normalisation's parts. Tensors are [pixels, channels].
#pragma once

#include <math.h>

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/host_device.h"

namespace epitaxy {

/// a * b + c rounded once (without the instruction: through double, which errs once in 2^29, and never in the sign).
EPITAXY_HOST_DEVICE inline float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__) || defined(__FMA__)
  return ::fmaf(a, b, c);
#else
  return static_cast<float>(static_cast<double>(a) * b + c);
#endif
}

/// A normalised value before residual and activation; scale = inverse_std * gamma. The backward pass recomputes it to see where the ReLU
/// was open, so every world computes these bits.
EPITAXY_HOST_DEVICE inline float batch_norm_value(float x, float mean, float scale, float beta) {
  return multiply_add(x - mean, scale, beta);
}

/// Whether v is positive once rounded to T: the largest number that becomes 0 is half of T's smallest.
template <class T>
EPITAXY_HOST_DEVICE inline bool rounds_above_zero(float v) {
  return v > 0.0f;
}
template <>
EPITAXY_HOST_DEVICE inline bool rounds_above_zero<BFloat16>(float v) {
  return v > 0x1p-134f;
}
template <>
EPITAXY_HOST_DEVICE inline bool rounds_above_zero<Half>(float v) {
  return v > 0x1p-25f;
}

/// Bytes of a pixel's mask: bit c % 8 of byte c / 8.
EPITAXY_HOST_DEVICE inline std::int64_t mask_bytes(std::int64_t channels) { return (channels + 7) / 8; }

struct BatchNormStatisticsArgs {
  const void* x;
  float* partials;  // [tiles, 2, channels], the tiles of pixel_tiles()
  std::int64_t pixels, channels;
  DType dtype;
};

/// Many tiles are first merged, `group` neighbours at a time.
struct TileGroups {
  std::int64_t group, tiles;
};
inline TileGroups tile_groups(std::int64_t tiles) {
  const std::int64_t group = tiles <= 1024 ? 1 : (tiles + 255) / 256;
  return {group, (tiles + group - 1) / group};
}

struct BatchNormFinalizeArgs {
  const float* partials;                   // [tiles, 2, channels]
  const float *old_mean, *old_variance;    // running values before; may be the new ones' memory
  float *mean, *inverse_std;               // of the batch
  float *running_mean, *running_variance;  // after
  std::int64_t tiles, tile_pixels;         // tile t holds the pixels from t * tile_pixels on; those past the last are empty
  std::int64_t pixels, channels;
  float* scratch;  // [tile_groups(tiles).tiles, 2, channels], on a GPU, where the group is not 1
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
  const void* residual;  // or null
  void* y;               // may be x or residual
  std::uint8_t* mask;    // [pixels, mask_bytes(channels)] or null: where y > 0
  std::int64_t pixels, channels;
  DType dtype;
  bool relu;
};

struct BatchNormReduceArgs {
  const void *x, *dy;
  const float *mean, *inverse_std;
  const float *gamma, *beta;  // with ReLU and no mask, else null
  const std::uint8_t* mask;   // or null
  float *dgamma, *dbeta;
  void* dresidual;  // masked dy, with a mask; may be dy
  float* partials;  // [tiles, 2, channels]
  std::int64_t pixels, channels;
  DType dtype;
};

struct BatchNormReduceTilesArgs {
  const float* partials;  // [tiles, 2, channels]
  float *dgamma, *dbeta;
  float* scratch;  // as BatchNormFinalizeArgs has it
  std::int64_t tiles, channels;
};

struct BatchNormInputGradientArgs {
  const void *x, *dy;
  const float *mean, *inverse_std, *gamma;
  const float *dgamma, *dbeta;  // when training
  const float* beta;            // with ReLU, else null
  void* dx;                     // may be dy or x
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
/// GPU worlds: args.partials alone, of tiles of that many pixels; and the sums of such tiles.
template <class World>
void batch_norm_partial_sums(const BatchNormReduceArgs& args, std::int64_t tile_pixels, Stream stream);
template <class World>
void batch_norm_reduce_tiles(const BatchNormReduceTilesArgs& args, Stream stream);
template <class World>
void batch_norm_input_gradient(const BatchNormInputGradientArgs& args, Stream stream);

}  // namespace epitaxy
