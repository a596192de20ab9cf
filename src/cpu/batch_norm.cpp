// Batch normalisation in fp32: vectorised over channels, threaded over tiles of pixels.
#include "kernels/batch_norm.h"

#include <cmath>

#include "cpu/channel_tiles.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

/// Two passes over a tile, the second from the cache: the mean as the mean difference from the tile's first pixel, which keeps the digits
/// of a large one, then squared deviations from it. Four pixels at a time save passes over the channels' sums.
template <>
void batch_norm_statistics<Host>(const BatchNormStatisticsArgs& args, Stream) {
  const std::int64_t channels = args.channels;
  with_float(args.dtype, [&]<class T>() {
    for_each_tile(args.pixels, channels, [&](std::int64_t tile, std::int64_t first, std::int64_t last) {
      const T* x = static_cast<const T*>(args.x) + first * channels;
      const T* origin = x;
      float* mean = args.partials + 2 * tile * channels;
      float* squares = mean + channels;
      for (std::int64_t c = 0; c < channels; ++c) mean[c] = squares[c] = 0.0f;
      const std::int64_t pixels = last - first;
      const auto each_pixel = [&](auto&& four, auto&& one) {
        std::int64_t p = 0;
        for (; p + 4 <= pixels; p += 4) four(x + p * channels);
        for (; p < pixels; ++p) one(x + p * channels);
      };
      each_pixel(
          [&](const T* __restrict a) {
            float* __restrict sum = mean;
            for (std::int64_t c = 0; c < channels; ++c) {
              const float o = to_float(origin[c]);
              sum[c] += ((to_float(a[c]) - o) + (to_float(a[c + channels]) - o)) +
                        ((to_float(a[c + 2 * channels]) - o) + (to_float(a[c + 3 * channels]) - o));
            }
          },
          [&](const T* __restrict a) {
            float* __restrict sum = mean;
            for (std::int64_t c = 0; c < channels; ++c) sum[c] += to_float(a[c]) - to_float(origin[c]);
          });
      const float share = 1.0f / static_cast<float>(pixels);
      for (std::int64_t c = 0; c < channels; ++c) mean[c] *= share;
      each_pixel(
          [&](const T* __restrict a) {
            float* __restrict sum = squares;
            for (std::int64_t c = 0; c < channels; ++c) {
              const float o = to_float(origin[c]), m = mean[c];
              const float d0 = (to_float(a[c]) - o) - m, d1 = (to_float(a[c + channels]) - o) - m;
              const float d2 = (to_float(a[c + 2 * channels]) - o) - m, d3 = (to_float(a[c + 3 * channels]) - o) - m;
              sum[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
            }
          },
          [&](const T* __restrict a) {
            float* __restrict sum = squares;
            for (std::int64_t c = 0; c < channels; ++c) {
              const float d = (to_float(a[c]) - to_float(origin[c])) - mean[c];
              sum[c] += d * d;
            }
          });
      for (std::int64_t c = 0; c < channels; ++c) mean[c] += to_float(origin[c]);
    });
  });
}

/// Chan's merge of the tiles, one after another: weights depend on counts alone, so the loop over channels has no division. Means are kept
/// as differences from the first tile's, so that a large mean does not cost the variance its digits.
template <>
void batch_norm_finalize<Host>(const BatchNormFinalizeArgs& args, Stream) {
  const std::int64_t size = (args.pixels + args.tiles - 1) / args.tiles, channels = args.channels;
  const float momentum = args.momentum, keep = 1.0f - momentum, pixels = static_cast<float>(args.pixels);
  float* __restrict mean = args.mean;
  float* __restrict squares = args.inverse_std;
  for (std::int64_t c = 0; c < channels; ++c) mean[c] = 0.0f, squares[c] = args.partials[channels + c];
  for (std::int64_t t = 1; t < args.tiles; ++t) {
    const double before = static_cast<double>(t * size), count = static_cast<double>(std::min(size, args.pixels - t * size));
    if (count <= 0) break;
    const float weight = static_cast<float>(count / (before + count)), product = static_cast<float>(before * count / (before + count));
    const float* __restrict tile_mean = args.partials + 2 * t * channels;
    const float* __restrict tile_squares = tile_mean + channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float delta = (tile_mean[c] - args.partials[c]) - mean[c];
      mean[c] += delta * weight;
      squares[c] += tile_squares[c] + delta * delta * product;
    }
  }
  for (std::int64_t c = 0; c < channels; ++c) {
    const float old_mean = args.old_mean[c], old_variance = args.old_variance[c], sum = squares[c];
    mean[c] += args.partials[c];
    args.running_mean[c] = keep * old_mean + momentum * mean[c];
    args.running_variance[c] = keep * old_variance + momentum * (sum / std::max(1.0f, pixels - 1.0f));
    args.inverse_std[c] = 1.0f / std::sqrt(sum / pixels + args.epsilon);
  }
}

template <>
void batch_norm_apply<Host>(const BatchNormApplyArgs& args, Stream) {
  const std::int64_t channels = args.channels;
  with_float(args.dtype, [&]<class T>() {
    parallel_for(
        args.pixels,
        [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t p = first; p < last; ++p) {
            const T* x = static_cast<const T*>(args.x) + p * channels;
            T* y = static_cast<T*>(args.y) + p * channels;
#pragma GCC ivdep
            for (std::int64_t c = 0; c < channels; ++c)
              y[c] = round<T>((to_float(x[c]) - args.mean[c]) * (args.inverse_std[c] * args.gamma[c]) + args.beta[c]);
          }
        },
        std::max<std::int64_t>(1, (1 << 15) / channels));
  });
}

template <>
void batch_norm_reduce<Host>(const BatchNormReduceArgs& args, Stream) {
  const std::int64_t channels = args.channels, tiles = pixel_tiles(args.pixels).tiles;
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    const T* dy = static_cast<const T*>(args.dy);
    for_each_tile(args.pixels, channels, [&](std::int64_t tile, std::int64_t first, std::int64_t last) {
      float* __restrict dgamma = args.partials + 2 * tile * channels;
      float* __restrict dbeta = dgamma + channels;
      const float* __restrict mean = args.mean;
      for (std::int64_t c = 0; c < channels; ++c) dgamma[c] = dbeta[c] = 0.0f;
      std::int64_t p = first;
      for (; p + 2 <= last; p += 2) {
        const T* __restrict a = x + p * channels;
        const T* __restrict b = dy + p * channels;
        for (std::int64_t c = 0; c < channels; ++c) {
          const float g0 = to_float(b[c]), g1 = to_float(b[c + channels]);
          dbeta[c] += g0 + g1;
          dgamma[c] += g0 * (to_float(a[c]) - mean[c]) + g1 * (to_float(a[c + channels]) - mean[c]);
        }
      }
      for (; p < last; ++p)
        for (std::int64_t c = 0; c < channels; ++c) {
          const float g = to_float(dy[p * channels + c]);
          dbeta[c] += g;
          dgamma[c] += g * (to_float(x[p * channels + c]) - mean[c]);
        }
    });
  });
  add_tiles(args.partials, args.dgamma, tiles, 2 * channels, 0, channels);
  add_tiles(args.partials, args.dbeta, tiles, 2 * channels, channels, channels);
  for (std::int64_t c = 0; c < channels; ++c) args.dgamma[c] *= args.inverse_std[c];
}

template <>
void batch_norm_input_gradient<Host>(const BatchNormInputGradientArgs& args, Stream) {
  const std::int64_t channels = args.channels;
  const float share = args.training ? 1.0f / static_cast<float>(args.pixels) : 0.0f;
  with_float(args.dtype, [&]<class T>() {
    parallel_for(
        args.pixels,
        [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t p = first; p < last; ++p) {
            const T* x = static_cast<const T*>(args.x) + p * channels;
            const T* dy = static_cast<const T*>(args.dy) + p * channels;
            T* dx = static_cast<T*>(args.dx) + p * channels;
            if (!args.training) {
#pragma GCC ivdep
              for (std::int64_t c = 0; c < channels; ++c) dx[c] = round<T>(to_float(dy[c]) * (args.gamma[c] * args.inverse_std[c]));
              continue;
            }
#pragma GCC ivdep
            for (std::int64_t c = 0; c < channels; ++c) {
              const float slope = args.inverse_std[c] * args.dgamma[c] * share;
              const float gradient = to_float(dy[c]) - args.dbeta[c] * share - (to_float(x[c]) - args.mean[c]) * slope;
              dx[c] = round<T>(gradient * (args.gamma[c] * args.inverse_std[c]));
            }
          }
        },
        std::max<std::int64_t>(1, (1 << 15) / channels));
  });
}

}  // namespace epitaxy
