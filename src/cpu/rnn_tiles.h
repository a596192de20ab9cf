// Products of small row-major matrices held in registers, for recurrences: operands of one step fit the cache, and no library call is
// worth its start. A sum always runs over its terms in order, whatever the tile, so a row's bits depend on nothing but the row.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "epitaxy/dtype.h"

namespace epitaxy::rnn_tiles {

// A tile's sums, a vector of each operand and a broadcast fill the register file: 32, 16 or 16 registers.
#if defined(__AVX512F__)
inline constexpr int kLanes = 16, kVectors = 2, kTileRows = 8;
#elif defined(__AVX__)
inline constexpr int kLanes = 8, kVectors = 3, kTileRows = 4;
#else
inline constexpr int kLanes = 4, kVectors = 2, kTileRows = 4;
#endif
inline constexpr std::int64_t kPanel = kLanes * kVectors;  // columns of a tile

constexpr std::int64_t round_up(std::int64_t count, std::int64_t step) { return (count + step - 1) / step * step; }
/// Floats from one row of scratch to the next: whole panels, and an odd number of cache lines so that rows do not share cache sets.
constexpr std::int64_t row_stride(std::int64_t columns) {
  return round_up(columns, kPanel) / 16 * 16 + (round_up(columns, kPanel) % 32 ? 32 : 16);
}

/// a [rows, depth] by rows of `stride`; b one packed panel [depth, kPanel].
struct RowProduct {
  const float* a;
  std::int64_t stride;
  const float* b;
  std::int64_t depth;
};

/// c [rows, kPanel] = start + first + second. `start` may be c itself; start_stride 0: one row for all.
template <int rows>
void row_tile(const RowProduct& first, const RowProduct& second, const float* start, std::int64_t start_stride, float* c,
              std::int64_t c_stride) {
  typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
  Vector sum[rows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) sum[i][j] = *reinterpret_cast<const Vector*>(start + i * start_stride + j * kLanes);
  for (const RowProduct* part : {&first, &second}) {
    const float *a = part->a, *b = part->b;
    for (std::int64_t k = 0; k < part->depth; ++k, b += kPanel) {
      Vector right[kVectors];
#pragma GCC unroll 3
      for (int j = 0; j < kVectors; ++j) right[j] = *reinterpret_cast<const Vector*>(b + j * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < kVectors; ++j) sum[i][j] += a[i * part->stride + k] * right[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) *reinterpret_cast<Vector*>(c + i * c_stride + j * kLanes) = sum[i][j];
}

using RowTile = void (*)(const RowProduct&, const RowProduct&, const float*, std::int64_t, float*, std::int64_t);
/// By the number of rows, from 1.
template <int... rows>
constexpr std::array<RowTile, sizeof...(rows)> row_tiles(std::integer_sequence<int, rows...>) {
  return {&row_tile<rows + 1>...};
}
inline constexpr auto kRowTiles = row_tiles(std::make_integer_sequence<int, kTileRows>());

/// Matrix b [depth, columns], element (k, n) at w[k * k_step + n * n_step], as panels [depth, kPanel] one after the other, zeros beyond.
template <class T>
void pack_panels(const T* w, std::int64_t k_step, std::int64_t n_step, std::int64_t depth, std::int64_t columns, float* packed) {
  for (std::int64_t n0 = 0; n0 < columns; n0 += kPanel) {
    const std::int64_t width = std::min(kPanel, columns - n0);
    for (std::int64_t k = 0; k < depth; ++k, packed += kPanel) {
      const T* from = w + k * k_step + n0 * n_step;
      for (std::int64_t j = 0; j < width; ++j) packed[j] = to_float(from[j * n_step]);
      for (std::int64_t j = width; j < kPanel; ++j) packed[j] = 0.0f;
    }
  }
}
constexpr std::int64_t packed_count(std::int64_t depth, std::int64_t columns) { return round_up(columns, kPanel) * depth; }

/// c [kTileRows, kPanel] += sum over k of a[k, i] b[k, j].
inline void outer_tile(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, std::int64_t depth, float* c,
                       std::int64_t c_stride) {
  typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
  Vector sum[kTileRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) sum[i][j] = *reinterpret_cast<const Vector*>(c + i * c_stride + j * kLanes);
  for (std::int64_t k = 0; k < depth; ++k, a += a_stride, b += b_stride) {
    Vector right[kVectors];
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) right[j] = *reinterpret_cast<const Vector*>(b + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 3
      for (int j = 0; j < kVectors; ++j) sum[i][j] += a[i] * right[j];
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) *reinterpret_cast<Vector*>(c + i * c_stride + j * kLanes) = sum[i][j];
}

/// c [m, n] += a' b over `rows` rows of a [rows, m] and b [rows, n]: the part of c's tiles that falls to `part` of `parts`. All strides
/// are row_stride's, and c has whole tiles of rows.
struct OuterProduct {
  const float* a;
  std::int64_t a_stride, m;
  const float* b;
  std::int64_t b_stride, n;
  float* c;
  std::int64_t c_stride;
};
inline void add_outer(const OuterProduct& p, std::int64_t rows, int part, int parts) {
  constexpr std::int64_t kDepth = 128;  // a panel of b of so many rows stays in the first-level cache
  const std::int64_t tiles = (p.m + kTileRows - 1) / kTileRows, first = tiles * part / parts, last = tiles * (part + 1) / parts;
  for (std::int64_t k = 0; k < rows; k += kDepth)
    for (std::int64_t n = 0; n < p.n; n += kPanel)
      for (std::int64_t tile = first; tile < last; ++tile)
        outer_tile(p.a + k * p.a_stride + tile * kTileRows, p.a_stride, p.b + k * p.b_stride + n, p.b_stride, std::min(kDepth, rows - k),
                   p.c + tile * kTileRows * p.c_stride + n, p.c_stride);
}

}  // namespace epitaxy::rnn_tiles
