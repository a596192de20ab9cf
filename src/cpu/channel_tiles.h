// Sums over the pixels of [pixels, channels] memory on the CPU: tiles in parallel, each vectorised over its channels, then the tiles added
// in order. The same tiles whatever the number of threads, so the same bits.
#pragma once

#include <algorithm>

#include "cpu/parallel.h"
#include "epitaxy/dtype.h"
#include "kernels/reduce.h"

namespace epitaxy {

/// Calls body(tile, first pixel, last pixel) for every tile.
template <class Body>
void for_each_tile(std::int64_t pixels, std::int64_t channels, Body&& body) {
  const PixelTiles tiles = pixel_tiles(pixels);
  const std::int64_t grain = std::max<std::int64_t>(1, (1 << 15) / std::max<std::int64_t>(1, tiles.size * channels));
  parallel_for(
      tiles.tiles,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) body(t, t * tiles.size, std::min(pixels, (t + 1) * tiles.size));
      },
      grain);
}

/// partials [tiles, columns] -> sum [count], from column `offset` on.
inline void add_tiles(const float* partials, float* sum, std::int64_t tiles, std::int64_t columns, std::int64_t offset,
                      std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) sum[c] = partials[offset + c];
  for (std::int64_t t = 1; t < tiles; ++t) {
    const float* __restrict part = partials + t * columns + offset;
    float* __restrict out = sum;
    for (std::int64_t c = 0; c < count; ++c) out[c] += part[c];
  }
}

/// sum[c] = sum over pixels [first, last) of x[p, c]: four pixels at a time, which saves passes over `sum`.
template <class T>
void add_pixels(const T* x, float* sum_out, std::int64_t first, std::int64_t last, std::int64_t channels) {
  float* __restrict sum = sum_out;
  for (std::int64_t c = 0; c < channels; ++c) sum[c] = 0.0f;
  std::int64_t p = first;
  for (; p + 4 <= last; p += 4) {
    const T* __restrict a = x + p * channels;
    for (std::int64_t c = 0; c < channels; ++c)
      sum[c] += (to_float(a[c]) + to_float(a[c + channels])) + (to_float(a[c + 2 * channels]) + to_float(a[c + 3 * channels]));
  }
  for (; p < last; ++p)
    for (std::int64_t c = 0; c < channels; ++c) sum[c] += to_float(x[p * channels + c]);
}

}  // namespace epitaxy
