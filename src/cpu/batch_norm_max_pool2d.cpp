// Normalisation, ReLU and max pooling in one pass on the CPU: vectorised over blocks of channels, threaded over pixels.
#include "kernels/batch_norm_max_pool2d.h"

#include <cstring>

#include "cpu/channel_tiles.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

constexpr std::int64_t kChannels = 64;  // of a block

/// The constants of `count` channels from `first` on.
struct Constants {
  float mean[kChannels], scale[kChannels], beta[kChannels];
  Constants(const BatchNormMaxPool2dArgs& args, std::int64_t first, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      mean[i] = args.mean[first + i];
      scale[i] = args.inverse_std[first + i] * args.gamma[first + i];
      beta[i] = args.beta[first + i];
    }
  }
  float value(float x, std::int64_t i) const { return batch_norm_value(x, mean[i], scale[i], beta[i]); }
};

/// What reaches `count` channels of x's pixel p through the pooling and the ReLU, rounded to T.
template <class T>
void gather(const BatchNormMaxPool2dArgs& args, const Constants& constants, std::int64_t p, std::int64_t first, std::int64_t count,
            float* sums) {
  const PoolShape& a = args.shape;
  const std::int64_t column = p % a.w, row = p / a.w % a.h, n = p / a.w / a.h;
  for (std::int64_t i = 0; i < count; ++i) sums[i] = 0.0f;
  const PoolRange rows = pool_windows(row, a.pad_top, a.r, a.stride_h, a.p),
                  columns = pool_windows(column, a.pad_left, a.s, a.stride_w, a.q);
  for (std::int64_t y = rows.first; y < rows.last; ++y)
    for (std::int64_t z = columns.first; z < columns.last; ++z) {
      const std::int64_t from = ((n * a.p + y) * a.q + z) * a.c + first;
      const auto tap = static_cast<std::uint8_t>((row - a.row_start(y)) * a.s + (column - a.column_start(z)));
      const T* dy = static_cast<const T*>(args.dy) + from;
      const std::uint8_t* index = args.index + from;
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) {
        const float g = to_float(dy[i]);
        sums[i] += index[i] == tap ? g : 0.0f;
      }
    }
  const T* x = static_cast<const T*>(args.x) + p * a.c + first;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = to_float(round<T>(sums[i]));
    sums[i] = rounds_above_zero<T>(constants.value(to_float(x[i]), i)) ? g : 0.0f;
  }
}

}  // namespace

template <>
void batch_norm_max_pool2d<Host>(const BatchNormMaxPool2dArgs& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    parallel_for(
        a.n * a.p * a.q,
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t first = 0; first < a.c; first += kChannels) {
            const std::int64_t count = std::min(kChannels, a.c - first);
            const Constants constants(args, first, count);
            for (std::int64_t pixel = begin; pixel < end; ++pixel) {
              const std::int64_t q = pixel % a.q, p = pixel / a.q % a.p, n = pixel / a.q / a.p;
              float best[kChannels] = {};
              std::int32_t index[kChannels] = {};
              bool empty = true;
              for (int r = 0; r < a.r; ++r)
                for (int s = 0; s < a.s; ++s) {
                  const std::int64_t h = a.row_start(p) + r, w = a.column_start(q) + s;
                  if (h < 0 || h >= a.h || w < 0 || w >= a.w) continue;
                  const T* x = static_cast<const T*>(args.x) + ((n * a.h + h) * a.w + w) * a.c + first;
                  const std::int32_t tap = r * a.s + s;
#pragma GCC ivdep
                  for (std::int64_t i = 0; i < count; ++i) {
                    const float open = constants.value(to_float(x[i]), i), v = open <= 0.0f ? 0.0f : open;
                    const bool better = empty | (v > best[i]) | ((v != v) & (best[i] == best[i]));
                    best[i] = better ? v : best[i];
                    index[i] = better ? tap : index[i];
                  }
                  empty = false;
                }
              for (std::int64_t i = 0; i < count; ++i) {
                static_cast<T*>(args.y)[pixel * a.c + first + i] = round<T>(best[i]);
                args.index[pixel * a.c + first + i] = static_cast<std::uint8_t>(index[i]);
              }
            }
          }
        },
        std::max<std::int64_t>(1, (1 << 13) / a.c));
  });
}

template <>
void batch_norm_max_pool2d_reduce<Host>(const BatchNormMaxPool2dArgs& args, Stream) {
  const std::int64_t channels = args.shape.c, tiles = pixel_tiles(args.pixels()).tiles;
  with_float(args.dtype, [&]<class T>() {
    for_each_tile(args.pixels(), channels, [&](std::int64_t tile, std::int64_t begin, std::int64_t end) {
      float* dgamma = args.partials + 2 * tile * channels;
      float* dbeta = dgamma + channels;
      std::memset(dgamma, 0, static_cast<std::size_t>(2 * channels) * sizeof(float));
      for (std::int64_t first = 0; first < channels; first += kChannels) {
        const std::int64_t count = std::min(kChannels, channels - first);
        const Constants constants(args, first, count);
        for (std::int64_t p = begin; p < end; ++p) {
          float gradient[kChannels];
          gather<T>(args, constants, p, first, count, gradient);
          const T* x = static_cast<const T*>(args.x) + p * channels + first;
#pragma GCC ivdep
          for (std::int64_t i = 0; i < count; ++i) {
            dbeta[first + i] += gradient[i];
            dgamma[first + i] = multiply_add(gradient[i], to_float(x[i]) - constants.mean[i], dgamma[first + i]);
          }
        }
      }
    });
  });
  add_tiles(args.partials, args.dgamma, tiles, 2 * channels, 0, channels);
  add_tiles(args.partials, args.dbeta, tiles, 2 * channels, channels, channels);
  for (std::int64_t c = 0; c < channels; ++c) args.dgamma[c] *= args.inverse_std[c];
}

template <>
void batch_norm_max_pool2d_input_gradient<Host>(const BatchNormMaxPool2dArgs& args, Stream) {
  const std::int64_t channels = args.shape.c;
  const float share = 1.0f / static_cast<float>(args.pixels());
  with_float(args.dtype, [&]<class T>() {
    parallel_for(
        args.pixels(),
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t first = 0; first < channels; first += kChannels) {
            const std::int64_t count = std::min(kChannels, channels - first);
            const Constants constants(args, first, count);
            float slope[kChannels] = {}, offset[kChannels] = {};
            if (args.dgamma)
              for (std::int64_t i = 0; i < count; ++i) {
                slope[i] = args.inverse_std[first + i] * args.dgamma[first + i] * share;
                offset[i] = args.dbeta[first + i] * share;
              }
            for (std::int64_t p = begin; p < end; ++p) {
              float gradient[kChannels];
              gather<T>(args, constants, p, first, count, gradient);
              const T* x = static_cast<const T*>(args.x) + p * channels + first;
              T* dx = static_cast<T*>(args.dx) + p * channels + first;
#pragma GCC ivdep
              for (std::int64_t i = 0; i < count; ++i) {
                const float centred = multiply_add(constants.mean[i] - to_float(x[i]), slope[i], gradient[i] - offset[i]);
                dx[i] = round<T>(centred * constants.scale[i]);
              }
            }
          }
        },
        std::max<std::int64_t>(1, (1 << 13) / channels));
  });
}

}  // namespace epitaxy
