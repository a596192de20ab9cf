// Passes around a convolution: residual, statistics, joined channels. All memory-bound.
#include "cpu/conv2d_epilogue.h"

#include <cstring>

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

void add_residual(const float* sum, const void* residual, void* y, std::int64_t count, DType dtype, bool relu) {
  with_float(dtype, [&]<class T>() {
    const T* other = static_cast<const T*>(residual);
    T* out = static_cast<T*>(y);
    parallel_for(count, [&](std::int64_t first, std::int64_t last) {
      if (relu)
        for (std::int64_t i = first; i < last; ++i) {
          const float value = sum[i] + to_float(other[i]);
          out[i] = round<T>(value <= 0.0f ? 0.0f : value);  // NaN stays NaN
        }
      else
        for (std::int64_t i = first; i < last; ++i) out[i] = round<T>(sum[i] + to_float(other[i]));
    });
  });
}

namespace {

/// sum[c] += term(x[pixel, c], c) over pixels [0, count): four pixels at a time, which saves passes over `sum`.
template <class T, class Term>
void add_terms(const T* pixels, float* sum_out, std::int64_t count, std::int64_t channels, Term&& term) {
  float* __restrict sum = sum_out;
  std::int64_t p = 0;
  for (; p + 4 <= count; p += 4) {
    const T* __restrict x = pixels + p * channels;
    for (std::int64_t c = 0; c < channels; ++c)
      sum[c] += (term(to_float(x[c]), c) + term(to_float(x[c + channels]), c)) +
                (term(to_float(x[c + 2 * channels]), c) + term(to_float(x[c + 3 * channels]), c));
  }
  for (; p < count; ++p)
    for (std::int64_t c = 0; c < channels; ++c) sum[c] += term(to_float(pixels[p * channels + c]), c);
}

}  // namespace

/// Two passes over a tile, the second from the cache: the mean as the mean difference from the first pixel, then squared deviations.
void tile_statistics(const void* y, float* statistics, std::int64_t pixels, std::int64_t channels, DType dtype) {
  const std::int64_t tiles = (pixels + kConv2dStatisticsPixels - 1) / kConv2dStatisticsPixels;
  with_float(dtype, [&]<class T>() {
    const auto some = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t tile = begin; tile < end; ++tile) {
        const T* x = static_cast<const T*>(y) + tile * kConv2dStatisticsPixels * channels;
        const std::int64_t count = std::min(kConv2dStatisticsPixels, pixels - tile * kConv2dStatisticsPixels);
        float *mean = statistics + 2 * tile * channels, *squares = mean + channels;
        for (std::int64_t c = 0; c < channels; ++c) mean[c] = squares[c] = 0.0f;
        add_terms(x, mean, count, channels, [x](float value, std::int64_t c) { return value - to_float(x[c]); });
        for (std::int64_t c = 0; c < channels; ++c) mean[c] *= 1.0f / static_cast<float>(count);
        add_terms(x, squares, count, channels, [x, mean](float value, std::int64_t c) {
          const float d = (value - to_float(x[c])) - mean[c];
          return d * d;
        });
        for (std::int64_t c = 0; c < channels; ++c) mean[c] += to_float(x[c]);
      }
    };
    parallel_for(tiles, some, std::max<std::int64_t>(1, (1 << 15) / (kConv2dStatisticsPixels * channels)));
  });
}

namespace {

/// Calls copy(pixel) for all pixels, in parallel where they are many.
template <class Copy>
void each_pixel(std::int64_t pixels, std::int64_t bytes, Copy&& copy) {
  const auto some = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t pixel = first; pixel < last; ++pixel) copy(pixel);
  };
  parallel_for(pixels, some, std::max<std::int64_t>(1, (1 << 17) / bytes));
}

}  // namespace

void join_channels(const void* first, const void* second, void* both, std::int64_t pixels, std::int64_t a, std::int64_t b, DType dtype) {
  const auto size = static_cast<std::int64_t>(size_of(dtype)), left = a * size, right = b * size;
  each_pixel(pixels, left + right, [&](std::int64_t pixel) {
    char* to = static_cast<char*>(both) + pixel * (left + right);
    std::memcpy(to, static_cast<const char*>(first) + pixel * left, static_cast<std::size_t>(left));
    std::memcpy(to + left, static_cast<const char*>(second) + pixel * right, static_cast<std::size_t>(right));
  });
}

void part_channels(const void* both, void* first, void* second, std::int64_t pixels, std::int64_t a, std::int64_t b, DType dtype) {
  const auto size = static_cast<std::int64_t>(size_of(dtype)), left = a * size, right = b * size;
  each_pixel(pixels, left + right, [&](std::int64_t pixel) {
    const char* from = static_cast<const char*>(both) + pixel * (left + right);
    std::memcpy(static_cast<char*>(first) + pixel * left, from, static_cast<std::size_t>(left));
    std::memcpy(static_cast<char*>(second) + pixel * right, from + left, static_cast<std::size_t>(right));
  });
}

}  // namespace epitaxy
