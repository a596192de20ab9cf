// From a block's sums to memory: bias, residual, ReLU, rounding, the statistics of what is stored, the input gradient's epilogue, the
// stores.
#pragma once

#include "kernels/device/conv_gradient.cuh"
#include "kernels/device/conv_math.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// Where a tile's columns go: line i of one matrix, or of two that share it between them from column `split` on.
template <class Out>
struct ConvTarget {
  Out* first;  // of the tile's first column
  std::int64_t pitch;
  int columns;            // of the tile that exist
  int split = 1 << 30;    // columns of the tile that belong to the first matrix; may be negative
  Out* second = nullptr;  // column 0
  std::int64_t second_pitch = 0;

  __device__ __forceinline__ Out* at(std::int64_t line, int column) const {
    return column < split ? first + line * pitch + column : second + line * second_pitch + (column - split);
  }
  /// Whether `count` columns from a multiple of it on are one aligned access.
  __device__ __forceinline__ bool aligned_to(int count) const {
    const auto aligned = [&](const Out* p, std::int64_t step) {
      return step % count == 0 && reinterpret_cast<std::uintptr_t>(p) % (count * sizeof(Out)) == 0;
    };
    return columns % count == 0 && aligned(first, pitch) && (!second || (split % count == 0 && aligned(second, second_pitch)));
  }
};

/// What the forward pass does with its sums: values[row, column] = activation(sum + bias + residual), rounded to T.
template <class T>
struct ConvEpilogue {
  const float* bias;  // of the tile's first column; null: none
  const T* residual;  // of the tile's first line and column; null: none
  std::int64_t pitch;
  int rows, columns;  // that exist
  bool relu;

  template <class Math>
  __device__ __forceinline__ void apply(Math& math) const {
    const bool wide = pitch % 2 == 0 && columns % 2 == 0 && is_aligned<T, 2>(residual);
    math.transform([&]<int N>(int row, int column, float(&values)[N]) {
      if (row >= rows || column >= columns) return;
      if (bias) {
#pragma unroll
        for (int e = 0; e < N; ++e)
          if (column + e < columns) values[e] += bias[column + e];
      }
      if (residual) {
        const T* from = residual + row * pitch + column;
        if (N > 1 && wide) {
          const auto vector = load_vector<T, N>(from);
#pragma unroll
          for (int e = 0; e < N; ++e) values[e] += load_float(vector[e]);
        } else {
#pragma unroll
          for (int e = 0; e < N; ++e)
            if (column + e < columns) values[e] += load_float(from[e]);
        }
      }
#pragma unroll
      for (int e = 0; e < N; ++e) {
        if (relu && values[e] <= 0.0f) values[e] = 0.0f;  // NaN stays NaN
        values[e] = load_float(store_float<T>(values[e]));
      }
    });
  }
};

/// Mean and sum of squared deviations of every column over the tile's rows: to out[column] and out[pitch + column]. Both sums are trees of
/// one shape. `shared`: 2 * kWarpsDown * kColumns floats that nobody reads any more. Every thread must call.
template <int kColumns, class Math>
__device__ __forceinline__ void write_statistics(const Math& math, float* shared, int rows, int columns, float* out, std::int64_t pitch) {
  constexpr int kParts = Math::kWarpsDown;
  const auto total = [&](const float* parts, int column) {
    float sum = parts[column];
#pragma unroll
    for (int part = 1; part < kParts; ++part) sum += parts[part * kColumns + column];
    return sum;
  };
  float *sums = shared, *squares = shared + kParts * kColumns;
  const float share = 1.0f / static_cast<float>(rows);
  math.column_sums([](int) { return 0.0f; }, [&](float, int row, float value) { return row < rows ? value : 0.0f; },
                   [&](int part, int column, float sum) { sums[part * kColumns + column] = sum; });
  __syncthreads();
  math.column_sums([&](int column) { return total(sums, column) * share; },
                   [&](float mean, int row, float value) { return row < rows ? (value - mean) * (value - mean) : 0.0f; },
                   [&](int part, int column, float sum) { squares[part * kColumns + column] = sum; });
  __syncthreads();
  for (int column = static_cast<int>(threadIdx.x); column < kColumns && column < columns; column += Math::kThreads) {
    out[column] = total(sums, column) * share;
    out[pitch + column] = total(squares, column);
  }
}

/// The input gradient's epilogue, and its partial sums: those of dgamma to e.partials' line of the tile, of dbeta to the next. `channel`:
/// of the tile's first column. `shared`: 2 * kWarpsDown * kColumns floats that nobody reads any more. kWhole: channels come in whole
/// 16-byte units. Every thread must call.
template <class T, int kColumns, bool kStatistics, bool kWhole, class Math, class LineOf>
__device__ __forceinline__ void finish_tile(const ConvGradient& e, Math& math, float* shared, int tile, int channel, int columns,
                                            LineOf&& line_of) {
  const auto finish = [&]<int N>(int row, int column, float(&values)[N], float(&sums)[2][N]) {
    const int line = line_of(row);
    if (line >= 0 && column < columns) finish_gradient<kWhole, T, N>(e, line, channel + column, columns - column, values, sums);
  };
  if constexpr (!Math::kTensor) {
    math.transform([&]<int N>(int row, int column, float(&values)[N]) {
      float none[2][N] = {};
      finish(row, column, values, none);
    });
  } else {
    constexpr int kParts = Math::kWarpsDown;
    const bool summed = kStatistics && e.partials;
    if (summed) __syncthreads();  // the last tiles have been read
    math.template transform_columns<2>(
        summed, finish, [&](int which, int part, int column, float sum) { shared[(which * kParts + part) * kColumns + column] = sum; });
    if (!summed) return __syncwarp();  // dx may lie over the other gradient, and a neighbour stores where this lane has read
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < 2 * kColumns; i += Math::kThreads) {
      const int which = i / kColumns, column = i % kColumns;
      if (column >= columns) continue;
      float sum = 0.0f;
#pragma unroll
      for (int part = 0; part < kParts; ++part) sum += shared[(which * kParts + part) * kColumns + column];
      if (which == 0) sum *= e.inverse_std[channel + column];
      e.partials[(2 * static_cast<std::int64_t>(tile) + which) * e.channels + channel + column] = sum;
    }
  }
}

/// Writes the block's tile: line_of(row) is the result's line, negative where there is none.
template <class Math, class Out, class LineOf>
__device__ __forceinline__ void write_tile(const Math& math, const ConvTarget<Out>& target, LineOf&& line_of) {
  if constexpr (sizeof(Out) == 2 && Math::kTensor) {
    const bool aligned = target.aligned_to(4);
    math.template each_four<Out>([&](int row, int column, uint2 packed) {
      const std::int64_t line = line_of(row);
      if (line < 0 || column >= target.columns) return;
      const auto four = std::bit_cast<Vector<Out, 4>>(packed);
      if (aligned) return store_vector(target.at(line, column), four);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (column + e < target.columns) *target.at(line, column + e) = four[e];
    });
  } else {
    const bool aligned = target.aligned_to(2);
    math.each([&]<int N>(int row, int column, const float(&values)[N]) {
      const std::int64_t line = line_of(row);
      if (line < 0 || column >= target.columns) return;
      if (N > 1 && aligned) return store_floats<Out, N>(target.at(line, column), values);
#pragma unroll
      for (int e = 0; e < N; ++e)
        if (column + e < target.columns) *target.at(line, column + e) = store_float<Out>(values[e]);
    });
  }
}

}  // namespace epitaxy::EPITAXY_WORLD
