// Filling and folding periodic borders.
#include "cpu/conv2d_border.h"

#include <cstring>

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

/// h in [-border, size + border) wrapped into [0, size).
std::int64_t wrapped(std::int64_t h, std::int64_t size) {
  const std::int64_t rest = h % size;
  return rest < 0 ? rest + size : rest;
}

template <class From, class To>
void copy(const From* from, To* to, std::int64_t count) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, sizeof(To) * static_cast<std::size_t>(count));
  } else {
    for (std::int64_t i = 0; i < count; ++i) to[i] = round<To>(to_float(from[i]));
  }
}

template <class Work>
void with_floats(DType from, DType to, Work&& work) {
  with_float(from, [&]<class From>() { with_float(to, [&]<class To>() { work.template operator()<From, To>(); }); });
}

}  // namespace

Border periodic_border(const Conv2dProblem& d) {
  Border border;
  if (d.padding_mode[0] == PaddingMode::periodic) border.top = d.padding[0], border.bottom = d.padding[1];
  if (d.padding_mode[1] == PaddingMode::periodic) border.left = d.padding[2], border.right = d.padding[3];
  return border;
}

void wrap(const Conv2dProblem& d, const Border& border, const void* x, DType from_type, void* to, DType to_type) {
  const std::int64_t height = d.h + border.top + border.bottom, width = d.w + border.left + border.right;
  with_floats(from_type, to_type, [&]<class From, class To>() {
    const auto rows = [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        const From* source = static_cast<const From*>(x) + (row / height * d.h + wrapped(row % height - border.top, d.h)) * d.w * d.c;
        To* target = static_cast<To*>(to) + row * width * d.c;
        for (std::int64_t column = 0; column < width;) {  // runs of columns that lie together in x
          const std::int64_t begin = wrapped(column - border.left, d.w), run = std::min(d.w - begin, width - column);
          copy(source + begin * d.c, target + column * d.c, run * d.c);
          column += run;
        }
      }
    };
    parallel_for(d.n * height, rows, std::max<std::int64_t>(1, (1 << 15) / (width * d.c)));
  });
}

void unwrap(const Conv2dProblem& d, const Border& border, const float* g, void* dx, DType dtype) {
  const std::int64_t height = d.h + border.top + border.bottom, width = d.w + border.left + border.right, c = d.c;
  with_float(dtype, [&]<class T>() {
    const auto rows = [&](std::int64_t first, std::int64_t last) {
      constexpr std::int64_t kChunk = 64;  // channels summed at a time
      float sum[kChunk];
      for (std::int64_t row = first; row < last; ++row) {
        const std::int64_t image = row / d.h, h = row % d.h;
        for (std::int64_t w = 0; w < d.w; ++w)
          for (std::int64_t c0 = 0; c0 < c; c0 += kChunk) {
            const std::int64_t length = std::min(kChunk, c - c0);
            std::fill(sum, sum + length, 0.0f);
            for (std::int64_t y = wrapped(h + border.top, d.h); y < height; y += d.h)
              for (std::int64_t x = wrapped(w + border.left, d.w); x < width; x += d.w) {
                const float* from = g + ((image * height + y) * width + x) * c + c0;
                for (std::int64_t i = 0; i < length; ++i) sum[i] += from[i];
              }
            T* to = static_cast<T*>(dx) + (row * d.w + w) * c + c0;
            for (std::int64_t i = 0; i < length; ++i) to[i] = round<T>(sum[i]);
          }
      }
    };
    parallel_for(d.n * d.h, rows, std::max<std::int64_t>(1, (1 << 15) / (d.w * c)));
  });
}

}  // namespace epitaxy
