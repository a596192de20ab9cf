// Batch normalisation's parts: one pass over x for the statistics, Chan's merges in fixed trees, and vectorised elementwise passes.
#include "kernels/batch_norm.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/batch_norm.cuh"
#include "kernels/reduce.h"

namespace epitaxy::EPITAXY_WORLD {

namespace {

/// Mean and sum of squared deviations of `count` values.
struct Moments {
  float count, mean, squares;
};

/// Chan, Golub & LeVeque 1979.
__device__ __forceinline__ void merge(Moments& a, float count, float mean, float squares) {
  if (count == 0.0f) return;
  const float total = a.count + count, weight = count / total, delta = mean - a.mean;
  a.mean += delta * weight;
  a.squares += squares + delta * delta * weight * a.count;
  a.count = total;
}

/// A thread sums x - shift and its square, shift being its own first value: a member of what it sums, so the squares it subtracts are at
/// most (count + 1) times what remains, and a large mean does not cancel. Rows then merge in a tree, their means kept as differences from
/// the tile's first pixel.
template <class T, int N>
__global__ void __launch_bounds__(kTileThreads)
    statistics_kernel(const T* x, float* partials, std::int64_t pixels, std::int64_t channels, std::int64_t size, ChannelLayout layout) {
  EPITAXY_SHARED(float, shared_mean, [N][kTileThreads]);
  EPITAXY_SHARED(float, shared_squares, [N][kTileThreads]);
  EPITAXY_SHARED(float, shared_count, [kTileThreads]);
  const ChannelPlace place = channel_place<N>(layout, channels);
  const std::int64_t first = blockIdx.x * size, last = first + size < pixels ? first + size : pixels;
  float origin[N] = {}, shift[N] = {}, sums[N] = {}, squares[N] = {};
  float count = 0.0f;
  if (place.active && first + place.row < last) {
    load_floats(origin, x + first * channels + place.channel);
    load_floats(shift, x + (first + place.row) * channels + place.channel);
    count = static_cast<float>((last - first - place.row + layout.rows - 1) / layout.rows);
#pragma unroll 4
    for (std::int64_t p = first + place.row + layout.rows; p < last; p += layout.rows) {
      float values[N];
      load_floats(values, x + p * channels + place.channel);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float d = values[i] - shift[i];
        sums[i] += d;
        squares[i] += d * d;
      }
    }
  }
  Moments moments[N];
  const float share = count > 0.0f ? 1.0f / count : 0.0f;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float offset = sums[i] * share;
    moments[i] = {count, (shift[i] - origin[i]) + offset, squares[i] - sums[i] * offset};
    if (moments[i].squares < 0.0f) moments[i].squares = 0.0f;  // rounding of equal values
  }
  const int thread = static_cast<int>(threadIdx.x);
  for (int active = layout.rows; active > 1;) {
    const int half = (active + 1) / 2;
    if (place.row >= half && place.row < active) {
      shared_count[thread] = moments[0].count;
#pragma unroll
      for (int i = 0; i < N; ++i) shared_mean[i][thread] = moments[i].mean, shared_squares[i][thread] = moments[i].squares;
    }
    __syncthreads();
    if (place.row + half < active) {
      const int other = thread + half * layout.lanes;
#pragma unroll
      for (int i = 0; i < N; ++i) merge(moments[i], shared_count[other], shared_mean[i][other], shared_squares[i][other]);
    }
    active = half;
  }
  if (place.active && place.row == 0) {
    float* tile = partials + 2 * blockIdx.x * channels + place.channel;
#pragma unroll
    for (int i = 0; i < N; ++i) tile[i] = origin[i] + moments[i].mean, tile[channels + i] = moments[i].squares;
  }
}

/// A block's 32 rows merge the tiles [first, last) of 8 channels: every 32nd a row, then the rows in a tree; row 0 holds the result. Means
/// are kept as differences from `origin`, so that a large mean does not cost the variance its digits.
__device__ __forceinline__ Moments merge_tiles(const float* partials, std::int64_t first, std::int64_t last, std::int64_t size,
                                               std::int64_t pixels, std::int64_t channels, std::int64_t channel, float origin) {
  EPITAXY_SHARED(float, shared, [3][256]);
  const int thread = static_cast<int>(threadIdx.x), row = thread / 8;
  Moments moments{0.0f, 0.0f, 0.0f};
  if (channel < channels)
#pragma unroll 4
    for (std::int64_t t = first + row; t < last; t += 32) {
      const std::int64_t left = pixels - t * size;
      const float count = static_cast<float>(left < 0 ? 0 : left < size ? left : size);
      const float* tile = partials + 2 * t * channels + channel;
      merge(moments, count, tile[0] - origin, tile[channels]);
    }
  for (int half = 16; half > 0; half /= 2) {
    if (row >= half && row < 2 * half)
      shared[0][thread] = moments.count, shared[1][thread] = moments.mean, shared[2][thread] = moments.squares;
    __syncthreads();
    if (row < half) merge(moments, shared[0][thread + half * 8], shared[1][thread + half * 8], shared[2][thread + half * 8]);
  }
  return moments;
}

/// Tiles blockIdx.y * group and following become one of `merged`, in the same format.
__global__ void __launch_bounds__(256) merge_tiles_kernel(BatchNormFinalizeArgs args, float* merged, std::int64_t group) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * 8 + threadIdx.x % 8;
  const std::int64_t first = blockIdx.y * group, last = first + group < args.tiles ? first + group : args.tiles;
  const float origin = channel < args.channels ? args.partials[2 * first * args.channels + channel] : 0.0f;
  const Moments moments = merge_tiles(args.partials, first, last, args.tile_pixels, args.pixels, args.channels, channel, origin);
  if (threadIdx.x >= 8 || channel >= args.channels) return;
  float* tile = merged + 2 * static_cast<std::int64_t>(blockIdx.y) * args.channels + channel;
  tile[0] = origin + moments.mean;
  tile[args.channels] = moments.squares;
}

__global__ void __launch_bounds__(256) finalize_kernel(BatchNormFinalizeArgs args) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * 8 + threadIdx.x % 8;
  const float origin = channel < args.channels ? args.partials[channel] : 0.0f;
  const Moments moments = merge_tiles(args.partials, 0, args.tiles, args.tile_pixels, args.pixels, args.channels, channel, origin);
  if (threadIdx.x >= 8 || channel >= args.channels) return;
  const float pixels = static_cast<float>(args.pixels), keep = 1.0f - args.momentum;
  const float old_mean = args.old_mean[channel], old_variance = args.old_variance[channel];
  const float mean = origin + moments.mean;
  args.mean[channel] = mean;
  args.inverse_std[channel] = 1.0f / sqrtf(moments.squares / pixels + args.epsilon);
  args.running_mean[channel] = keep * old_mean + args.momentum * mean;
  args.running_variance[channel] = keep * old_variance + args.momentum * (moments.squares / (pixels > 1.0f ? pixels - 1.0f : 1.0f));
}

__global__ void __launch_bounds__(256) inference_kernel(BatchNormInferenceArgs args) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (c >= args.channels) return;
  args.mean[c] = args.running_mean[c];
  args.inverse_std[c] = 1.0f / sqrtf(args.running_variance[c] + args.epsilon);
}

/// N values of the channels, or the first `valid`.
template <bool kWhole, int N>
__device__ __forceinline__ void load_constants(float (&values)[N], const float* p, int valid) {
  if constexpr (kWhole)
    load_floats(values, p);
  else
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = i < valid ? p[i] : 0.0f;
}

/// The channels' constants stay in registers while a thread walks down its pixels. With a mask a thread has the 8 channels of one of its
/// bytes, not all of them `kWhole` where C is no multiple of 8.
template <class T, int N, bool kAdd, bool kMask, bool kWhole>
__global__ void __launch_bounds__(kTileThreads) apply_kernel(BatchNormApplyArgs args, std::int64_t size, ChannelLayout layout) {
  const ChannelPlace place = channel_place<N>(layout, args.channels);
  if (!place.active) return;
  const int valid = args.channels - place.channel < N ? static_cast<int>(args.channels - place.channel) : N;
  float mean[N], scale[N], beta[N];
  load_constants<kWhole>(mean, args.gamma + place.channel, valid);
  load_constants<kWhole>(scale, args.inverse_std + place.channel, valid);
#pragma unroll
  for (int i = 0; i < N; ++i) scale[i] *= mean[i];
  load_constants<kWhole>(mean, args.mean + place.channel, valid);
  load_constants<kWhole>(beta, args.beta + place.channel, valid);
  const float lowest = args.relu ? 0.0f : -INFINITY;
  const T* x = static_cast<const T*>(args.x) + place.channel;
  const T* residual = kAdd ? static_cast<const T*>(args.residual) + place.channel : nullptr;
  T* y = static_cast<T*>(args.y) + place.channel;
  const std::int64_t first = blockIdx.x * size, last = first + size < args.pixels ? first + size : args.pixels;
  constexpr int kGroup = kWhole && N * sizeof(T) <= 16 ? 4 : 2;
  for_each_pixel<kGroup>(first + place.row, last, layout.rows, [&]<int kPixels>(std::int64_t p) {
    Packed<T, N> values[kPixels], added[kAdd ? kPixels : 1];
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const std::int64_t offset = (p + k * layout.rows) * args.channels;
      kWhole ? values[k].load(x + offset) : values[k].load_some(x + offset, valid);
      if constexpr (kAdd) kWhole ? added[k].load(residual + offset) : added[k].load_some(residual + offset, valid);
    }
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      unsigned open = 0;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        float v = batch_norm_value(values[k].get(i), mean[i], scale[i], beta[i]);
        if constexpr (kAdd) v += added[k].get(i);
        if constexpr (kMask) open |= rounds_above_zero<T>(v) && (kWhole || i < valid) ? 1u << i : 0u;
        values[k].set(i, v <= lowest ? lowest : v);  // NaN stays NaN
      }
      const std::int64_t pixel = p + k * layout.rows;
      kWhole ? values[k].store(y + pixel * args.channels) : values[k].store_some(y + pixel * args.channels, valid);
      if constexpr (kMask) args.mask[pixel * mask_bytes(args.channels) + place.channel / 8] = static_cast<std::uint8_t>(open);
    }
  });
}

/// How a backward pass knows where the ReLU was open.
enum class Mask { none, recomputed, stored };

template <class T, int N, Mask kMask>
__global__ void __launch_bounds__(kTileThreads) reduce_kernel(BatchNormReduceArgs args, std::int64_t size, ChannelLayout layout) {
  const ChannelPlace place = channel_place<N>(layout, args.channels);
  const std::int64_t first = blockIdx.x * size, last = first + size < args.pixels ? first + size : args.pixels;
  float sums[2][N] = {};  // dgamma, dbeta
  if (place.active) {
    float mean[N], scale[N], beta[N];
    if constexpr (kMask == Mask::recomputed) {
      load_floats(mean, args.gamma + place.channel);
      load_floats(scale, args.inverse_std + place.channel);
      load_floats(beta, args.beta + place.channel);
#pragma unroll
      for (int i = 0; i < N; ++i) scale[i] *= mean[i];
    }
    load_floats(mean, args.mean + place.channel);
    const T* x = static_cast<const T*>(args.x) + place.channel;
    const T* dy = static_cast<const T*>(args.dy) + place.channel;
    T* dresidual = kMask == Mask::stored ? static_cast<T*>(args.dresidual) + place.channel : nullptr;
    const std::uint8_t* mask = kMask == Mask::stored ? args.mask + place.channel / 8 : nullptr;
    const int shift = static_cast<int>(place.channel % 8);
    for_each_pixel<4>(first + place.row, last, layout.rows, [&]<int kPixels>(std::int64_t p) {
      Packed<T, N> values[kPixels], gradients[kPixels];
      unsigned open[kPixels];
#pragma unroll
      for (int k = 0; k < kPixels; ++k) {
        const std::int64_t pixel = p + k * layout.rows;
        values[k].load(x + pixel * args.channels);
        gradients[k].load(dy + pixel * args.channels);
        if constexpr (kMask == Mask::stored) open[k] = static_cast<unsigned>(mask[pixel * mask_bytes(args.channels)]) >> shift;
      }
#pragma unroll
      for (int k = 0; k < kPixels; ++k) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const float value = values[k].get(i);
          float gradient = gradients[k].get(i);
          if constexpr (kMask == Mask::recomputed)
            if (!rounds_above_zero<T>(batch_norm_value(value, mean[i], scale[i], beta[i]))) gradient = 0.0f;
          if constexpr (kMask == Mask::stored) {
            if (!(open[k] >> i & 1u)) gradient = 0.0f;
            gradients[k].set(i, gradient);
          }
          sums[0][i] = multiply_add(gradient, value - mean[i], sums[0][i]);
          sums[1][i] += gradient;
        }
        if constexpr (kMask == Mask::stored) gradients[k].store(dresidual + (p + k * layout.rows) * args.channels);
      }
    });
  }
  add_rows(sums, layout, place);
  store_sums(args.partials, sums, args.inverse_std, place, args.channels);
}

/// dx = scale * (dy - offset - (x - mean) * slope): per channel three constants and the mean, and beta for the mask.
template <class T, int N, bool kTraining, bool kRelu>
__global__ void __launch_bounds__(kTileThreads)
    input_gradient_kernel(BatchNormInputGradientArgs args, std::int64_t size, ChannelLayout layout) {
  const ChannelPlace place = channel_place<N>(layout, args.channels);
  if (!place.active) return;
  float scale[N], mean[N], offset[N], slope[N], beta[N];
  load_floats(slope, args.inverse_std + place.channel);
  load_floats(scale, args.gamma + place.channel);
#pragma unroll
  for (int i = 0; i < N; ++i) scale[i] *= slope[i];
  if constexpr (kTraining) load_shares(offset, slope, args.inverse_std, args.dgamma, args.dbeta, args.pixels, place.channel);
  if constexpr (kTraining || kRelu) load_floats(mean, args.mean + place.channel);
  if constexpr (kRelu) load_floats(beta, args.beta + place.channel);
  const T* x = static_cast<const T*>(args.x) + place.channel;
  const T* dy = static_cast<const T*>(args.dy) + place.channel;
  T* dx = static_cast<T*>(args.dx) + place.channel;
  const std::int64_t first = blockIdx.x * size, last = first + size < args.pixels ? first + size : args.pixels;
  for_each_pixel<4>(first + place.row, last, layout.rows, [&]<int kPixels>(std::int64_t p) {
    Packed<T, N> values[kPixels], gradients[kPixels];
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const std::int64_t at = (p + k * layout.rows) * args.channels;
      gradients[k].load(dy + at);
      if constexpr (kTraining || kRelu) values[k].load(x + at);
    }
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        float gradient = gradients[k].get(i);
        if constexpr (kRelu)
          if (!rounds_above_zero<T>(batch_norm_value(values[k].get(i), mean[i], scale[i], beta[i]))) gradient = 0.0f;
        if constexpr (kTraining) gradient = multiply_add(mean[i] - values[k].get(i), slope[i], gradient - offset[i]);
        gradients[k].set(i, gradient * scale[i]);
      }
      gradients[k].store(dx + (p + k * layout.rows) * args.channels);
    }
  });
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using namespace EPITAXY_WORLD;

template <>
void batch_norm_statistics<EPITAXY_WORLD::World>(const BatchNormStatisticsArgs& args, Stream stream) {
  const PixelTiles tiles = pixel_tiles(args.pixels);
  with_float(args.dtype, [&]<class T>() {
    with_channel_vector<T>(args.channels, all_aligned(args.x), [&]<int N>() {
      const ChannelLayout layout = channel_layout(args.channels, N);
      launch(stream, "batch_norm_statistics", statistics_kernel<T, N>, dim3(static_cast<unsigned>(tiles.tiles), layout.chunks),
             dim3(kTileThreads), 0, static_cast<const T*>(args.x), args.partials, args.pixels, args.channels, tiles.size, layout);
    });
  });
}

template <>
void batch_norm_finalize<EPITAXY_WORLD::World>(const BatchNormFinalizeArgs& args, Stream stream) {
  const unsigned blocks = static_cast<unsigned>((args.channels + 7) / 8);
  BatchNormFinalizeArgs merged = args;
  if (const TileGroups groups = tile_groups(args.tiles); groups.group > 1) {
    launch(stream, "batch_norm_finalize", merge_tiles_kernel, dim3(blocks, static_cast<unsigned>(groups.tiles)), dim3(256), 0, args,
           args.scratch, groups.group);
    merged.partials = args.scratch;
    merged.tiles = groups.tiles;
    merged.tile_pixels = groups.group * args.tile_pixels;
  }
  launch(stream, "batch_norm_finalize", finalize_kernel, dim3(blocks), dim3(256), 0, merged);
}

template <>
void batch_norm_inference<EPITAXY_WORLD::World>(const BatchNormInferenceArgs& args, Stream stream) {
  launch(stream, "batch_norm_inference", inference_kernel, dim3(static_cast<unsigned>((args.channels + 255) / 256)), dim3(256), 0, args);
}

template <>
void batch_norm_apply<EPITAXY_WORLD::World>(const BatchNormApplyArgs& args, Stream stream) {
  const bool aligned = all_aligned(args.x, args.y, args.residual, args.mean, args.inverse_std, args.gamma, args.beta);
  with_float(args.dtype, [&]<class T>() {
    const auto run = [&]<int N>(auto kernel) {
      const ChannelLayout layout = channel_layout(args.channels, N);
      const std::int64_t size = pixels_per_block(args.pixels, layout, stream);
      launch(stream, "batch_norm_apply", kernel, grid_of(args.pixels, size, layout), dim3(kTileThreads), 0, args, size, layout);
    };
    if (args.mask) {
      const bool whole = aligned && args.channels % 8 == 0;
      return run.template operator()<8>(whole ? apply_kernel<T, 8, true, true, true> : apply_kernel<T, 8, true, true, false>);
    }
    with_channel_vector<T>(args.channels, aligned, [&]<int N>() {
      run.template operator()<N>(args.residual ? apply_kernel<T, N, true, false, true> : apply_kernel<T, N, false, false, true>);
    });
  });
}

template <>
void batch_norm_partial_sums<EPITAXY_WORLD::World>(const BatchNormReduceArgs& args, std::int64_t tile_pixels, Stream stream) {
  const std::int64_t tiles = (args.pixels + tile_pixels - 1) / tile_pixels;
  const bool aligned = all_aligned(args.x, args.dy, args.dresidual, args.mean, args.inverse_std, args.gamma, args.beta, args.partials);
  with_float(args.dtype, [&]<class T>() {
    with_channel_vector<T>(args.channels, aligned, [&]<int N>() {
      const ChannelLayout layout = channel_layout(args.channels, N);
      const auto kernel = args.mask   ? reduce_kernel<T, N, Mask::stored>
                          : args.beta ? reduce_kernel<T, N, Mask::recomputed>
                                      : reduce_kernel<T, N, Mask::none>;
      launch(stream, "batch_norm_reduce", kernel, dim3(static_cast<unsigned>(tiles), layout.chunks), dim3(kTileThreads), 0, args,
             tile_pixels, layout);
    });
  });
}

template <>
void batch_norm_reduce<EPITAXY_WORLD::World>(const BatchNormReduceArgs& args, Stream stream) {
  const PixelTiles tiles = pixel_tiles(args.pixels);
  batch_norm_partial_sums<EPITAXY_WORLD::World>(args, tiles.size, stream);
  add_tiles(stream, "batch_norm_reduce", args.partials, args.dgamma, args.dbeta, tiles.tiles, args.channels);
}

template <>
void batch_norm_reduce_tiles<EPITAXY_WORLD::World>(const BatchNormReduceTilesArgs& args, Stream stream) {
  const TileGroups groups = tile_groups(args.tiles);
  const float* partials = args.partials;
  if (groups.group > 1) {
    add_tiles(stream, "batch_norm_reduce", partials, args.scratch, args.scratch + args.channels, args.tiles, args.channels, groups.group);
    partials = args.scratch;
  }
  add_tiles(stream, "batch_norm_reduce", partials, args.dgamma, args.dbeta, groups.tiles, args.channels);
}

template <>
void batch_norm_input_gradient<EPITAXY_WORLD::World>(const BatchNormInputGradientArgs& args, Stream stream) {
  with_float(args.dtype, [&]<class T>() {
    const bool aligned = all_aligned(args.x, args.dy, args.dx, args.mean, args.inverse_std, args.gamma, args.dgamma, args.dbeta, args.beta);
    with_channel_vector<T>(args.channels, aligned, [&]<int N>() {
      const ChannelLayout layout = channel_layout(args.channels, N);
      const std::int64_t size = pixels_per_block(args.pixels, layout, stream);
      const auto kernel = args.training
                              ? (args.beta ? input_gradient_kernel<T, N, true, true> : input_gradient_kernel<T, N, true, false>)
                              : (args.beta ? input_gradient_kernel<T, N, false, true> : input_gradient_kernel<T, N, false, false>);
      launch(stream, "batch_norm_input_gradient", kernel, grid_of(args.pixels, size, layout), dim3(kTileThreads), 0, args, size, layout);
    });
  });
}

}  // namespace epitaxy
