// Batch normalisation in fp32: vectorised over channels, threaded over tiles of pixels.
#include "kernels/batch_norm.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

#include "cpu/bits.h"
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
  const std::int64_t size = args.tile_pixels, channels = args.channels;
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

namespace {

/// Calls body(std::bool_constant) with the flag as a constant, so that the loop inside has no branch.
template <class Body>
void with_flag(bool flag, Body&& body) {
  flag ? body(std::true_type{}) : body(std::false_type{});
}

/// With AVX-512 masks are what a comparison gives and a load takes; these do whole vectors and answer how many channels that was.
template <class T>
std::int64_t pack_vectors([[maybe_unused]] const T* y, [[maybe_unused]] std::uint8_t* mask, [[maybe_unused]] std::int64_t channels) {
  std::int64_t c = 0;
#if defined(__AVX512BW__)
  if constexpr (std::is_same_v<T, float>) {
    for (; c + 16 <= channels; c += 16) {
      const __mmask16 open = _mm512_cmp_ps_mask(_mm512_loadu_ps(y + c), _mm512_setzero_ps(), _CMP_GT_OQ);
      std::memcpy(mask + c / 8, &open, 2);
    }
  } else {
    const __m512i infinity = _mm512_set1_epi16(static_cast<short>(kInfinityBits<T>));
    for (; c + 32 <= channels; c += 32) {
      const __m512i bits = _mm512_loadu_si512(y + c);
      const __mmask32 open = _mm512_mask_cmple_epi16_mask(_mm512_cmpgt_epi16_mask(bits, _mm512_setzero_si512()), bits, infinity);
      std::memcpy(mask + c / 8, &open, 4);
    }
  }
#endif
  return c;
}
template <class T>
std::int64_t mask_vectors([[maybe_unused]] const T* dy, [[maybe_unused]] const std::uint8_t* mask, [[maybe_unused]] T* dresidual,
                          [[maybe_unused]] std::int64_t channels) {
  std::int64_t c = 0;
#if defined(__AVX512BW__)
  if constexpr (std::is_same_v<T, float>) {
    for (; c + 16 <= channels; c += 16) {
      __mmask16 open;
      std::memcpy(&open, mask + c / 8, 2);
      _mm512_storeu_ps(dresidual + c, _mm512_maskz_loadu_ps(open, dy + c));
    }
  } else {
    for (; c + 32 <= channels; c += 32) {
      __mmask32 open;
      std::memcpy(&open, mask + c / 8, 4);
      _mm512_storeu_si512(dresidual + c, _mm512_maskz_loadu_epi16(open, dy + c));
    }
  }
#endif
  return c;
}

/// The mask of one pixel: 8 flags of one byte each become bits by a product that moves flag i to bit 56 + i.
template <class T>
void pack_mask(const T* y, std::uint8_t* mask, std::int64_t channels) {
  for (std::int64_t c = pack_vectors(y, mask, channels); c < channels; c += 64) {
    std::uint8_t flags[64] = {};
    const std::int64_t count = std::min<std::int64_t>(64, channels - c);
    for (std::int64_t i = 0; i < count; ++i) flags[i] = to_float(y[c + i]) > 0.0f;
    for (std::int64_t i = 0; i < count; i += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, flags + i, 8);
      mask[(c + i) / 8] = static_cast<std::uint8_t>(eight * 0x0102040810204080u >> 56);
    }
  }
}

/// dresidual = dy where the mask's bit is set, else 0.
template <class T>
void apply_mask(const T* dy, const std::uint8_t* mask, T* dresidual, std::int64_t channels) {
  for (std::int64_t c = mask_vectors(dy, mask, dresidual, channels); c < channels; c += 64) {
    std::uint8_t flags[64];
    const std::int64_t count = std::min<std::int64_t>(64, channels - c);
    for (std::int64_t i = 0; i < count; i += 8) {
      const std::uint64_t eight = mask[(c + i) / 8] * 0x0101010101010101u & 0x8040201008040201u;
      std::memcpy(flags + i, &eight, 8);
    }
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) {
      const Bits<T> bits = bits_of(dy[c + i]);
      set_bits(dresidual[c + i], static_cast<Bits<T>>(flags[i] ? bits : 0));
    }
  }
}

/// A pixel's gradient dy, 0 where the recomputed ReLU was closed.
template <bool kRelu, class T>
float gradient_at(const T& x, const T& dy, float mean, float inverse_std, float gamma, float beta) {
  const float gradient = to_float(dy);
  if constexpr (!kRelu) return gradient;
  const bool open = rounds_above_zero<T>(batch_norm_value(to_float(x), mean, inverse_std * gamma, beta));
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(gradient) & (0u - open));  // no branch: the loop stays vectorised
}

}  // namespace

template <>
void batch_norm_apply<Host>(const BatchNormApplyArgs& args, Stream) {
  const std::int64_t channels = args.channels;
  const float lowest = args.relu ? 0.0f : -std::numeric_limits<float>::infinity();
  with_float(args.dtype, [&]<class T>() {
    with_flag(args.residual, [&](auto add) {
      each_row(args.pixels, channels, [&](std::int64_t p) {
        const T* x = static_cast<const T*>(args.x) + p * channels;
        const T* residual = add ? static_cast<const T*>(args.residual) + p * channels : x;
        T* y = static_cast<T*>(args.y) + p * channels;
#pragma GCC ivdep
        for (std::int64_t c = 0; c < channels; ++c) {
          float v = batch_norm_value(to_float(x[c]), args.mean[c], args.inverse_std[c] * args.gamma[c], args.beta[c]);
          if constexpr (add) v += to_float(residual[c]);
          y[c] = round<T>(v <= lowest ? lowest : v);  // NaN stays NaN
        }
        if (args.mask) pack_mask(y, args.mask + p * mask_bytes(channels), channels);
      });
    });
  });
}

template <>
void batch_norm_reduce<Host>(const BatchNormReduceArgs& args, Stream) {
  const std::int64_t channels = args.channels, tiles = pixel_tiles(args.pixels).tiles;
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    const T* dy = static_cast<const T*>(args.mask ? args.dresidual : args.dy);
    with_flag(args.beta, [&](auto relu) {
      for_each_tile(args.pixels, channels, [&](std::int64_t tile, std::int64_t first, std::int64_t last) {
        float* __restrict dgamma = args.partials + 2 * tile * channels;
        float* __restrict dbeta = dgamma + channels;
        const float* __restrict mean = args.mean;
        const auto gradient = [&](const T& value, const T& d, std::int64_t c) {
          return gradient_at<relu>(value, d, mean[c], relu ? args.inverse_std[c] : 0, relu ? args.gamma[c] : 0, relu ? args.beta[c] : 0);
        };
        const auto mask = [&](std::int64_t p) {
          if (args.mask)
            apply_mask(static_cast<const T*>(args.dy) + p * channels, args.mask + p * mask_bytes(channels),
                       static_cast<T*>(args.dresidual) + p * channels, channels);
        };
        for (std::int64_t c = 0; c < channels; ++c) dgamma[c] = dbeta[c] = 0.0f;
        std::int64_t p = first;
        for (; p + 2 <= last; p += 2) {
          mask(p), mask(p + 1);
          const T* __restrict a = x + p * channels;
          const T* __restrict b = dy + p * channels;
#pragma GCC ivdep
          for (std::int64_t c = 0; c < channels; ++c) {
            const float g0 = gradient(a[c], b[c], c), g1 = gradient(a[c + channels], b[c + channels], c);
            dbeta[c] += g0 + g1;
            dgamma[c] = multiply_add(g0, to_float(a[c]) - mean[c], multiply_add(g1, to_float(a[c + channels]) - mean[c], dgamma[c]));
          }
        }
        for (; p < last; ++p) {
          mask(p);
#pragma GCC ivdep
          for (std::int64_t c = 0; c < channels; ++c) {
            const float g = gradient(x[p * channels + c], dy[p * channels + c], c);
            dbeta[c] += g;
            dgamma[c] = multiply_add(g, to_float(x[p * channels + c]) - mean[c], dgamma[c]);
          }
        }
      });
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
    with_flag(args.beta, [&](auto relu) {
      each_row(args.pixels, channels, [&](std::int64_t p) {
        const T* x = static_cast<const T*>(args.x) + p * channels;
        const T* dy = static_cast<const T*>(args.dy) + p * channels;
        T* dx = static_cast<T*>(args.dx) + p * channels;
        const auto gradient = [&](std::int64_t c) {
          return gradient_at<relu>(x[c], dy[c], args.mean[c], args.inverse_std[c], args.gamma[c], relu ? args.beta[c] : 0);
        };
        if (!args.training) {
#pragma GCC ivdep
          for (std::int64_t c = 0; c < channels; ++c) dx[c] = round<T>(gradient(c) * (args.gamma[c] * args.inverse_std[c]));
          return;
        }
#pragma GCC ivdep
        for (std::int64_t c = 0; c < channels; ++c) {
          const float slope = args.inverse_std[c] * args.dgamma[c] * share;
          const float centred = multiply_add(-args.dbeta[c], share, gradient(c));
          dx[c] = round<T>(multiply_add(args.mean[c] - to_float(x[c]), slope, centred) * (args.gamma[c] * args.inverse_std[c]));
        }
      });
    });
  });
}

}  // namespace epitaxy
