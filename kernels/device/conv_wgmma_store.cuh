// How a tile of pixels leaves the registers: bias, residual, ReLU, one rounding, 16-byte stores by way of shared memory, statistics.
#pragma once

#include "kernels/device/conv_gradient.cuh"
#include "kernels/device/conv_wgmma.cuh"

namespace epitaxy::EPITAXY_WORLD {

struct WgmmaStore {
  const float* bias;     // [columns] or null
  const void* residual;  // as the result, or null
  void *result, *result2;
  float* statistics;      // [tiles of 128 pixels, 2, columns] or null
  ConvGradient gradient;  // input gradient, but for what is added
  int columns;
  int first_columns;  // those of `result`; the rest are of result2
  bool relu;
};

/// Of `count` values: their mean, and the sum of squared deviations from it.
struct ConvMoments {
  float count, mean, squares;
};

/// Where a 16-byte unit of a staging row lies: spread so that rows do not meet in the same banks.
__device__ __forceinline__ int staged(int row, int unit) { return row * kLineBytes + ((unit ^ (row & 7)) << 4); }

/// The 16 rows x 128 bytes that a warp stages, to and from global memory: lane l handles unit l % 8 of rows l / 8, + 4, + 8, + 12.
template <class T>
struct StagedRows {
  static constexpr int kUnit = 16 / sizeof(T);
  unsigned char* staging;
  int lane, line;  // the result's line of row lane % 16, -1 for none
  int column;      // of the first unit
  bool aligned;    // 16-byte accesses to global memory

  template <class Move>
  __device__ __forceinline__ void each(int columns, Move&& move) const {
    const int at = column + lane % 8 * kUnit, left = columns - at;
#pragma unroll
    for (int row = lane / 8; row < 16; row += 4) {
      const int to = __shfl_sync(0xffffffffu, line, row);
      move(reinterpret_cast<T*>(staging + staged(row, lane % 8)), static_cast<std::int64_t>(to), at, to >= 0 ? left : 0);
    }
  }
  __device__ __forceinline__ void load(const T* from, int columns) const {
    each(columns, [&](T* shared, std::int64_t to, int at, int valid) {
      Vector<T, kUnit> unit{};
      const T* global = from + to * columns + at;
      if (valid >= kUnit && aligned) {
        unit = load_vector<T, kUnit>(global);
      } else {
#pragma unroll
        for (int e = 0; e < kUnit; ++e)
          if (e < valid) unit[e] = global[e];
      }
      store_vector(shared, unit);
    });
  }
  /// Input gradient: columns from first_columns on go to the second result.
  template <bool kForward>
  __device__ __forceinline__ void store(const WgmmaStore& out) const {
    each(out.columns, [&](T* shared, std::int64_t to, int at, int valid) {
      const auto unit = load_vector<T, kUnit>(shared);
      const int first = kForward ? out.columns : out.first_columns;
      T* global = static_cast<T*>(out.result) + to * first + at;
      if (!kForward && at >= first) global = static_cast<T*>(out.result2) + to * (out.columns - first) + at - first;
      if (valid >= kUnit && aligned) {
        store_vector(global, unit);
      } else {
#pragma unroll
        for (int e = 0; e < kUnit; ++e)
          if (e < valid) global[e] = unit[e];
      }
    });
  }
};

/// Adds bias and residual (staged before), applies ReLU, rounds and stages the fragment of 16 rows x 128 bytes that the warp holds.
template <class T>
__device__ __forceinline__ void stage_fragment(const float* sums, unsigned char* staging, const WgmmaStore& out, int column) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < static_cast<int>(16 / sizeof(T)); ++j) {  // 8 columns each
    float bias[2] = {};
    const int at = column + 8 * j + 2 * t;
    if (out.bias) {
      if (at < out.columns) bias[0] = out.bias[at];
      if (at + 1 < out.columns) bias[1] = out.bias[at + 1];
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = g + 8 * half, byte = (8 * j + 2 * t) * static_cast<int>(sizeof(T));
      T* shared = reinterpret_cast<T*>(staging + staged(row, byte / 16) + byte % 16);
      float pair[2] = {sums[4 * j + 2 * half] + bias[0], sums[4 * j + 2 * half + 1] + bias[1]};
      if (out.residual) {
        float add[2];
        load_floats<T, 2>(add, shared);
        pair[0] += add[0], pair[1] += add[1];
      }
      if (out.relu) {  // NaN stays NaN
        if (pair[0] <= 0.0f) pair[0] = 0.0f;
        if (pair[1] <= 0.0f) pair[1] = 0.0f;
      }
      if constexpr (sizeof(T) == 2)
        store_vector(reinterpret_cast<unsigned*>(shared), Vector<unsigned, 1>{{pack_rounded<T>(pair[0], pair[1])}});
      else
        store_floats<T, 2>(shared, pair);
    }
  }
}

/// Moments of the first `rows` of 16 staged rows, for the lane's 4 bytes of columns. The values are read twice, which costs less than the
/// registers to hold them.
template <class T>
__device__ __forceinline__ void staged_moments(float (&mean)[4 / sizeof(T)], float (&squares)[4 / sizeof(T)], const unsigned char* staging,
                                               int rows) {
  constexpr int kColumns = 4 / sizeof(T);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto read = [&](float(&values)[kColumns], int row) {
    load_floats<T, kColumns>(values, reinterpret_cast<const T*>(staging + staged(row, lane / 4) + lane % 4 * 4));
  };
  float first[kColumns], sum[kColumns] = {}, offset[kColumns];  // differences from the first, so that a large mean costs no digits
  read(first, 0);
#pragma unroll 4
  for (int row = 1; row < rows; ++row) {
    float values[kColumns];
    read(values, row);
#pragma unroll
    for (int e = 0; e < kColumns; ++e) sum[e] += values[e] - first[e];
  }
  const float share = rows > 0 ? 1.0f / static_cast<float>(rows) : 0.0f;
#pragma unroll
  for (int e = 0; e < kColumns; ++e) offset[e] = sum[e] * share, mean[e] = first[e] + offset[e], squares[e] = 0.0f;
#pragma unroll 4
  for (int row = 0; row < rows; ++row) {
    float values[kColumns];
    read(values, row);
#pragma unroll
    for (int e = 0; e < kColumns; ++e) {
      const float d = (values[e] - first[e]) - offset[e];
      squares[e] += d * d;
    }
  }
}

/// A thread merges the 8 warps' shares of 128 pixels of one column.
template <class Config>
__device__ __forceinline__ void merge_moments(const WgmmaStore& out, const unsigned char* staging, int pixel, int pixels, int column) {
  const int tile = static_cast<int>(threadIdx.x) / Config::kColumns, at = static_cast<int>(threadIdx.x) % Config::kColumns;
  const int first = pixel + tile * 128;
  if (tile < Config::kRowBlocks && column + at < out.columns && first < pixels) {
    ConvMoments all{0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int slice = 0; slice < 8; ++slice) {
      const int left = pixels - first - slice * 16;
      const int from = Config::kRowBlocks == 1 ? slice : tile * 4 + slice % 4, block = Config::kRowBlocks == 1 ? 0 : slice / 4;
      if (left > 0) {  // Chan, Golub & LeVeque 1979
        float pair[2];
        load_floats<float, 2>(pair, reinterpret_cast<const float*>(staging + from * kStagingBytes) + 2 * (block * Config::kColumns + at));
        const float count = left < 16 ? static_cast<float>(left) : 16.0f, total = all.count + count, weight = count / total;
        const float delta = pair[0] - all.mean;
        all.mean += delta * weight;
        all.squares += pair[1] + delta * delta * weight * all.count;
        all.count = total;
      }
    }
    float* to = out.statistics + 2 * static_cast<std::int64_t>(first / 128) * out.columns + column + at;
    to[0] = all.mean, to[out.columns] = all.squares;
  }
}

/// Stores the consumers' tile. line_of(row) is the result's line of a row of the tile, -1 for none; rows from `pixels - pixel` on are none.
template <class Config, class LineOf>
__device__ __forceinline__ void store_tile(const WgmmaStore& out, const WgmmaSums<Config>& sums, unsigned char* staging, int pixel,
                                           int pixels, int column, LineOf&& line_of) {
  using T = typename Config::T;
  constexpr int kChunk = kLineBytes / sizeof(T), kChunks = Config::kColumns / kChunk, kWord = 4 / sizeof(T);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, group = warp / 4;
  unsigned char* own = staging + warp * kStagingBytes;
  const bool aligned = out.columns % (16 / sizeof(T)) == 0;
  float mean[Config::kRowBlocks][kChunks][kWord], squares[Config::kRowBlocks][kChunks][kWord];
#pragma unroll
  for (int block = 0; block < Config::kRowBlocks; ++block) {
    const int row = (group * Config::kRowBlocks + block) * 64 + warp % 4 * 16, left = pixels - pixel - row;
    const int line = line_of(pixel + row + lane % 16);
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const StagedRows<T> rows{own, lane, line, column + chunk * kChunk, aligned};
      if (rows.column < out.columns) {
        if (out.residual) {
          rows.load(static_cast<const T*>(out.residual), out.columns);
          __syncwarp();
        }
        stage_fragment<T>(sums[block] + chunk * kChunk / 2, own, out, rows.column);
        __syncwarp();
        rows.template store<true>(out);
        if (Config::kStatistics && out.statistics)
          staged_moments<T>(mean[block][chunk], squares[block][chunk], own, left < 0 ? 0 : left < 16 ? left : 16);
        __syncwarp();  // read before the next chunk overwrites it
      }
    }
  }
  if constexpr (Config::kStatistics)
    if (out.statistics) {  // [row blocks][columns][mean, squares] of each warp's 16 rows
#pragma unroll
      for (int block = 0; block < Config::kRowBlocks; ++block)
#pragma unroll
        for (int chunk = 0; chunk < kChunks; ++chunk)
#pragma unroll
          for (int e = 0; e < kWord; ++e)
            if (column + chunk * kChunk < out.columns) {
              const float pair[2] = {mean[block][chunk][e], squares[block][chunk][e]};
              store_floats<float, 2>(reinterpret_cast<float*>(own) + 2 * (block * Config::kColumns + chunk * kChunk + lane * kWord + e),
                                     pair);
            }
      meet_consumers();
      merge_moments<Config>(out, staging, pixel, pixels, column);
      meet_consumers();  // read before the next tile overwrites it
    }
}

}  // namespace epitaxy::EPITAXY_WORLD
