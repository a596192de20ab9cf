// Products of small row-major matrices held in registers, for recurrences: operands of one step fit the cache, and no library call is
// worth its start. A sum always runs over its terms in order, whatever the tile, so a row's bits depend on nothing but the row.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

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

/// What operands are kept in: bf16 where the processor multiplies pairs of it into fp32 sums, fp32 otherwise.
#if defined(__AVX512BF16__)
template <class T>
using Operand = std::conditional_t<std::is_same_v<T, BFloat16>, BFloat16, float>;
#else
template <class T>
using Operand = float;
#endif
/// Terms of a sum that one instruction takes. Their number is rounded up to it, with zeros.
template <class E>
inline constexpr std::int64_t kPair = std::is_same_v<E, BFloat16> ? 2 : 1;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

/// sum[i] += a[i] b, a [rows] broadcast one by one; `a` and `b` hold kPair terms for each place.
template <int rows, class E>
inline __attribute__((always_inline)) void multiply(Vector (&sum)[rows][kVectors], const E* a, std::int64_t a_step, const E* b) {
  if constexpr (kPair<E> == 1) {
    Vector right[kVectors];
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) right[j] = *reinterpret_cast<const Vector*>(b + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
      for (int j = 0; j < kVectors; ++j) sum[i][j] += a[i * a_step] * right[j];
  } else {
#if defined(__AVX512BF16__)
    __m512i right[kVectors];
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) right[j] = _mm512_loadu_si512(b + j * kLanes * 2);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      std::int32_t pair;
      std::memcpy(&pair, a + i * a_step, sizeof(pair));
      const __m512i left = _mm512_set1_epi32(pair);
#pragma GCC unroll 3
      for (int j = 0; j < kVectors; ++j) sum[i][j] = (Vector)_mm512_dpbf16_ps((__m512)sum[i][j], (__m512bh)left, (__m512bh)right[j]);
    }
#endif
  }
}

template <int rows>
inline __attribute__((always_inline)) void load(Vector (&sum)[rows][kVectors], const float* from, std::int64_t stride) {
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) sum[i][j] = *reinterpret_cast<const Vector*>(from + i * stride + j * kLanes);
}
template <int rows>
inline __attribute__((always_inline)) void store(const Vector (&sum)[rows][kVectors], float* to, std::int64_t stride) {
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) *reinterpret_cast<Vector*>(to + i * stride + j * kLanes) = sum[i][j];
}

/// a [rows, depth] by rows of `stride`; b one packed panel of so many rows.
template <class E>
struct RowProduct {
  const E* a = nullptr;
  std::int64_t stride = 0;
  const E* b = nullptr;
  std::int64_t depth = 0;
};

/// c [rows, kPanel] = start + first + second. `start` may be c itself; start_stride 0: one row for all.
template <int rows, class E>
void row_tile(const RowProduct<E>& first, const RowProduct<E>& second, const float* start, std::int64_t start_stride, float* c,
              std::int64_t c_stride) {
  Vector sum[rows][kVectors];
  load<rows>(sum, start, start_stride);
  for (const RowProduct<E>* part : {&first, &second}) {
    const E *a = part->a, *b = part->b;
    const std::int64_t stride = part->stride;
    for (std::int64_t k = 0; k < part->depth; k += kPair<E>, b += kPanel * kPair<E>) multiply<rows, E>(sum, a + k, stride, b);
  }
  store<rows>(sum, c, c_stride);
}

template <class E>
using RowTile = void (*)(const RowProduct<E>&, const RowProduct<E>&, const float*, std::int64_t, float*, std::int64_t);
template <class E, int... rows>
constexpr std::array<RowTile<E>, sizeof...(rows)> row_tiles(std::integer_sequence<int, rows...>) {
  return {&row_tile<rows + 1, E>...};
}
/// By the number of rows, from 1.
template <class E>
RowTile<E> row_tile_of(std::int64_t rows) {
  static constexpr auto kTiles = row_tiles<E>(std::make_integer_sequence<int, kTileRows>());
  return kTiles[static_cast<std::size_t>(rows - 1)];
}

/// Matrix b [depth, columns], element (k, n) at w[k * k_step + n * n_step], as panels [depth / kPair, kPanel, kPair] one after the other,
/// zeros beyond. panel_at finds the one that starts with column n.
template <class E, class T>
void pack_panels(const T* w, std::int64_t k_step, std::int64_t n_step, std::int64_t depth, std::int64_t columns, E* packed) {
  for (std::int64_t n0 = 0; n0 < columns; n0 += kPanel) {
    const std::int64_t width = std::min(kPanel, columns - n0);
    for (std::int64_t k0 = 0; k0 < depth; k0 += kPair<E>, packed += kPanel * kPair<E>)
      for (std::int64_t i = 0; i < kPair<E>; ++i) {
        const std::int64_t k = k0 + i;
        for (std::int64_t j = 0; j < kPanel; ++j)
          packed[j * kPair<E> + i] = k < depth && j < width ? round<E>(to_float(w[k * k_step + (n0 + j) * n_step])) : E{};
      }
  }
}
template <class E>
const E* panel_at(const E* packed, std::int64_t n, std::int64_t depth) {
  return packed + n * round_up(depth, kPair<E>);
}
/// Floats that hold a packed matrix of either type.
constexpr std::int64_t packed_count(std::int64_t depth, std::int64_t columns) { return round_up(columns, kPanel) * depth; }

template <class To, class From>
void convert_row(To* __restrict to, const From* __restrict from, std::int64_t columns) {
#pragma GCC ivdep
  for (std::int64_t j = 0; j < columns; ++j) to[j] = round<To>(to_float(from[j]));
}
/// A row of an operand, and a zero behind it where a last pair may reach.
template <class E, class S>
void put_row(E* to, const S* from, std::int64_t columns) {
  convert_row(to, from, columns);
  if constexpr (kPair < E >> 1) to[columns] = E{};
}
/// Rows [row, row + rows) of an outer product's operand, kPair of them interleaved: [rows / kPair, stride, kPair]. `row` is a multiple of
/// kPair, an odd last row is followed by zeros; source(i) is row i.
template <class E, class Source>
void put_rows(E* operand, std::int64_t stride, std::int64_t row, std::int64_t rows, std::int64_t columns, Source&& source) {
  for (std::int64_t i = 0; i < rows; i += kPair<E>) {
    E* const to = operand + (row + i) * stride;
    if constexpr (kPair<E> == 1) {
      put_row(to, source(i), columns);
    } else {
      const auto* __restrict first = source(i);
      auto* __restrict words = reinterpret_cast<std::uint32_t*>(to);
      if (i + 1 < rows) {
        const auto* __restrict second = source(i + 1);
#pragma GCC ivdep
        for (std::int64_t j = 0; j < columns; ++j)
          words[j] = round<E>(to_float(first[j])).bits | static_cast<std::uint32_t>(round<E>(to_float(second[j])).bits) << 16;
      } else {
#pragma GCC ivdep
        for (std::int64_t j = 0; j < columns; ++j) words[j] = round<E>(to_float(first[j])).bits;
      }
    }
  }
}

/// c [m, n] += a' b over `rows` rows of a [rows, m] and b [rows, n], both as put_rows leaves them: the part of c's tiles that falls to
/// `part` of `parts`. All strides are row_stride's, and c has whole tiles of rows.
template <class E>
struct OuterProduct {
  const E* a;
  std::int64_t a_stride, m;
  const E* b;
  std::int64_t b_stride, n;
  float* c;
  std::int64_t c_stride;
};
template <class E>
void add_outer(const OuterProduct<E>& p, std::int64_t rows, int part, int parts) {
  constexpr std::int64_t kDepth = 128;  // a panel of b of so many rows stays in the first-level cache
  const std::int64_t tiles = (p.m + kTileRows - 1) / kTileRows, first = tiles * part / parts, last = tiles * (part + 1) / parts;
  for (std::int64_t k = 0; k < rows; k += kDepth)
    for (std::int64_t n = 0; n < p.n; n += kPanel)
      for (std::int64_t tile = first; tile < last; ++tile) {
        float* const c = p.c + tile * kTileRows * p.c_stride + n;
        Vector sum[kTileRows][kVectors];
        load<kTileRows>(sum, c, p.c_stride);
        const E* a = p.a + k * p.a_stride + tile * kTileRows * kPair<E>;
        const E* b = p.b + k * p.b_stride + n * kPair<E>;
        for (std::int64_t i = k; i < std::min(rows, k + kDepth); i += kPair<E>, a += p.a_stride * kPair<E>, b += p.b_stride * kPair<E>)
          multiply<kTileRows, E>(sum, a, kPair<E>, b);
        store<kTileRows>(sum, c, p.c_stride);
      }
}

}  // namespace epitaxy::rnn_tiles
