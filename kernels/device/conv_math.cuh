// What a block does with two tiles in shared memory: tensor-core or scalar multiply-adds into fp32 registers.
#pragma once

#include "kernels/device/ptx.cuh"
#include "kernels/device/vector.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// The shared tile of one factor: kOuter rows (or columns) of the product by kDepth steps of the reduction.
/// kAlong: [kOuter][kDepth], else [kDepth][kOuter]. The pitch spreads ldmatrix rows and fragment loads over the banks.
template <class T, int kOuter_, int kDepth_, bool kAlong_>
struct FactorTile {
  static constexpr int kOuter = kOuter_, kDepth = kDepth_;
  static constexpr bool kAlong = kAlong_;
  static constexpr int kPitch = kAlong ? kDepth + static_cast<int>(16 / sizeof(T)) : kOuter + 8;
  static constexpr int kElements = (kAlong ? kOuter : kDepth) * kPitch;
};

/// Warps of kWarpRows x kWarpColumns of the block's tile, mma m16n8k16 (16-bit) or m16n8k8 (tf32).
template <class T, class A, class B, int kWarpRows, int kWarpColumns>
class TensorMath {
  static constexpr int kRowTiles = kWarpRows / 16, kColumnTiles = kWarpColumns / 8;
  static constexpr int kStep = 32 / sizeof(T);   // reduction of one mma: 32 bytes
  static constexpr int kChunk = 16 / sizeof(T);  // elements of an ldmatrix row
  // Fragments that take single loads (tf32 across the reduction) would be hoisted until registers spill.
  static constexpr int kUnroll = sizeof(T) == 4 && !A::kAlong ? 1 : A::kDepth / kStep;
  static_assert(kColumnTiles % 2 == 0 && A::kDepth == B::kDepth && A::kDepth % kStep == 0);

 public:
  static constexpr bool kTensor = true;
  static constexpr int kWarpsDown = A::kOuter / kWarpRows;
  static constexpr int kThreads = kWarpsDown * (B::kOuter / kWarpColumns) * 32;

  __device__ TensorMath() {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    row_ = warp % kWarpsDown * kWarpRows;
    column_ = warp / kWarpsDown * kWarpColumns;
    lane_ = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum_[i][j][e] = 0.0f;
  }

  __device__ __forceinline__ void add(const T* a_tile, const T* b_tile) {
#pragma unroll kUnroll
    for (int k = 0; k < A::kDepth; k += kStep) {
      std::uint32_t a[4], b[kColumnTiles][2];
#pragma unroll
      for (int j = 0; j < kColumnTiles; j += 2) load_b(b[j], b[j + 1], b_tile, column_ + 8 * j, k);
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        load_a(a, a_tile, row_ + 16 * i, k);
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          if constexpr (sizeof(T) == 2)
            mma_m16n8k16<T>(sum_[i][j], a, b[j]);
          else
            mma_m16n8k8_tf32(sum_[i][j], a, b[j]);
        }
      }
    }
  }

  /// Calls change(row, column, values[2]) for every pair of neighbouring columns that this thread holds.
  template <class Change>
  __device__ __forceinline__ void transform(Change&& change) {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          float pair[2] = {sum_[i][j][2 * half], sum_[i][j][2 * half + 1]};
          change(row_ + 16 * i + 8 * half + lane_ / 4, column_ + 8 * j + lane_ % 4 * 2, pair);
          sum_[i][j][2 * half] = pair[0], sum_[i][j][2 * half + 1] = pair[1];
        }
  }

  /// change(row, column, values[2], sums) for all rows of a pair of columns in turn, which may add to sums[kSums][2]; those of a warp's
  /// rows are then added by a butterfly over the lanes where `summed`, and one lane calls write(which, warp row, column, sum) for each.
  template <int kSums, class Change, class Write>
  __device__ __forceinline__ void transform_columns(bool summed, Change&& change, Write&& write) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      const int column = column_ + 8 * j + lane_ % 4 * 2;
      float sums[kSums][2] = {};
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float pair[2] = {sum_[i][j][2 * half], sum_[i][j][2 * half + 1]};
          change(row_ + 16 * i + 8 * half + lane_ / 4, column, pair, sums);
          sum_[i][j][2 * half] = pair[0], sum_[i][j][2 * half + 1] = pair[1];
        }
      if (summed)
#pragma unroll
        for (int s = 0; s < kSums; ++s)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const float sum = add_rows_of_lanes(sums[s][e]);
            if (lane_ < 4) write(s, row_ / kWarpRows, column + e, sum);
          }
    }
  }

  /// Calls write(row, column, values[2]) likewise.
  template <class Write>
  __device__ __forceinline__ void each(Write&& write) const {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          const float pair[2] = {sum_[i][j][2 * half], sum_[i][j][2 * half + 1]};
          write(row_ + 16 * i + 8 * half + lane_ / 4, column_ + 8 * j + lane_ % 4 * 2, pair);
        }
  }

  /// For 16-bit results: write(row, column, packed) with four neighbouring columns a lane, so that a store fills whole sectors.
  template <class Out, class Write>
  __device__ __forceinline__ void each_four(Write&& write) const {
    const int place = lane_ % 4, source = place % 2 * 2;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < kColumnTiles; j += 2) {
          const float *left = sum_[i][j] + 2 * half, *right = sum_[i][j + 1] + 2 * half;
          const std::uint32_t a = pack_rounded<Out>(left[0], left[1]), b = pack_rounded<Out>(right[0], right[1]);
          const auto lane = [&](int from) {
            const std::uint32_t from_a = __shfl_sync(0xffffffffu, a, from, 4), from_b = __shfl_sync(0xffffffffu, b, from, 4);
            return place < 2 ? from_a : from_b;
          };
          uint2 packed;
          packed.x = lane(source), packed.y = lane(source + 1);
          write(row_ + 16 * i + 8 * half + lane_ / 4, column_ + 8 * j + 4 * place, packed);
        }
  }

  /// Sums over the rows of each warp, column by column, of term(begin(column), row, value): this thread's in order, then a butterfly over
  /// the lanes. write(warp row, column, sum) is called by one lane for each.
  template <class Begin, class Term, class Write>
  __device__ __forceinline__ void column_sums(Begin&& begin, Term&& term, Write&& write) const {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = column_ + 8 * j + lane_ % 4 * 2 + e;
        const float origin = begin(column);
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
          for (int half = 0; half < 2; ++half) sum += term(origin, row_ + 16 * i + 8 * half + lane_ / 4, sum_[i][j][2 * half + e]);
        sum = add_rows_of_lanes(sum);
        if (lane_ < 4) write(row_ / kWarpRows, column, sum);
      }
  }

 private:
  /// The sum of the eight lanes that hold other rows of the same columns.
  __device__ __forceinline__ static float add_rows_of_lanes(float sum) {
#pragma unroll
    for (int distance = 16; distance >= 4; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
  }
  __device__ __forceinline__ static void round_factors(std::uint32_t& x) { x = cvt_tf32(std::bit_cast<float>(x)); }

  __device__ __forceinline__ void load_a(std::uint32_t (&a)[4], const T* tile, int row, int k) const {
    if constexpr (A::kAlong) {
      ldmatrix_x4(a, tile + (row + lane_ % 16) * A::kPitch + k + lane_ / 16 * kChunk);
    } else if constexpr (sizeof(T) == 2) {
      ldmatrix_x4_trans(a, tile + (k + lane_ / 16 * 8 + lane_ % 8) * A::kPitch + row + lane_ / 8 % 2 * 8);
    } else {
      const T* at = tile + (k + lane_ % 4) * A::kPitch + row + lane_ / 4;
#pragma unroll
      for (int e = 0; e < 4; ++e) a[e] = std::bit_cast<std::uint32_t>(at[e / 2 * 4 * A::kPitch + e % 2 * 8]);
    }
    if constexpr (sizeof(T) == 4)
#pragma unroll
      for (int e = 0; e < 4; ++e) round_factors(a[e]);
  }

  /// Two neighbouring 8-column fragments.
  __device__ __forceinline__ void load_b(std::uint32_t (&first)[2], std::uint32_t (&second)[2], const T* tile, int column, int k) const {
    std::uint32_t b[4];
    if constexpr (B::kAlong) {
      ldmatrix_x4(b, tile + (column + lane_ / 16 * 8 + lane_ % 8) * B::kPitch + k + lane_ / 8 % 2 * kChunk);
    } else if constexpr (sizeof(T) == 2) {
      ldmatrix_x4_trans(b, tile + (k + lane_ / 8 % 2 * 8 + lane_ % 8) * B::kPitch + column + lane_ / 16 * 8);
    } else {
      const T* at = tile + (k + lane_ % 4) * B::kPitch + column + lane_ / 4;
#pragma unroll
      for (int e = 0; e < 4; ++e) b[e] = std::bit_cast<std::uint32_t>(at[e % 2 * 4 * B::kPitch + e / 2 * 8]);
    }
    if constexpr (sizeof(T) == 4)
#pragma unroll
      for (int e = 0; e < 4; ++e) round_factors(b[e]);
    first[0] = b[0], first[1] = b[1], second[0] = b[2], second[1] = b[3];
  }

  float sum_[kRowTiles][kColumnTiles][4];
  int row_, column_, lane_;
};

/// 16 x 16 threads, each with every 16th row and column, or groups of four where the tile is contiguous across the reduction.
template <class T, class A, class B>
class ScalarMath {
  static constexpr int kRows = A::kOuter / 16, kColumns = B::kOuter / 16;

 public:
  static constexpr bool kTensor = false;
  static constexpr int kThreads = 256;

  __device__ ScalarMath() {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    row_ = warp / 2 * 4 + lane / 8;  // a warp is 4 x 8, so that neither factor's loads span more than 128 bytes
    column_ = warp % 2 * 8 + lane % 8;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) sum_[i][j][0] = 0.0f;
  }

  __device__ __forceinline__ void add(const T* a_tile, const T* b_tile) {
#pragma unroll 1  // unrolled, loads of later steps would be hoisted until registers spill
    for (int k = 0; k < A::kDepth; k += 4) {
      float a[kRows][4];
#pragma unroll
      for (int i = 0; i < kRows; i += kGroup<A>) load_a(&a[i], a_tile, i, k);
#pragma unroll
      for (int j = 0; j < kColumns; j += kGroup<B>) {
        if constexpr (B::kAlong) {
          float b[4];
          load_floats<T, 4>(b, b_tile + position<B>(column_, j) * B::kPitch + k);
#pragma unroll
          for (int step = 0; step < 4; ++step)
#pragma unroll
            for (int i = 0; i < kRows; ++i) sum_[i][j][0] += a[i][step] * b[step];
        } else {
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            float b[4];
            load_floats<T, 4>(b, b_tile + (k + step) * B::kPitch + position<B>(column_, j));
#pragma unroll
            for (int i = 0; i < kRows; ++i)
#pragma unroll
              for (int l = 0; l < 4; ++l) sum_[i][j + l][0] += a[i][step] * b[l];
          }
        }
      }
    }
  }

  /// Calls change(row, column, values[1]) for every sum that this thread holds.
  template <class Change>
  __device__ __forceinline__ void transform(Change&& change) {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) change(position<A>(row_, i), position<B>(column_, j), sum_[i][j]);
  }

  /// Calls write(row, column, values[1]) likewise.
  template <class Write>
  __device__ __forceinline__ void each(Write&& write) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) write(position<A>(row_, i), position<B>(column_, j), sum_[i][j]);
  }

 private:
  /// The i-th row or column of the thread at `place` of 16.
  template <class Tile>
  __device__ __forceinline__ static int position(int place, int i) {
    return Tile::kAlong ? place + 16 * i : i / 4 * 64 + place * 4 + i % 4;
  }
  /// Rows or columns that one load of four serves.
  template <class Tile>
  static constexpr int kGroup = Tile::kAlong ? 1 : 4;
  /// a[l][step]: row i + l of the group, reduction k + step.
  __device__ __forceinline__ void load_a(float (*a)[4], const T* tile, int i, int k) const {
    if constexpr (A::kAlong) {
      load_floats<T, 4>(a[0], tile + position<A>(row_, i) * A::kPitch + k);
    } else {
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        float four[4];
        load_floats<T, 4>(four, tile + (k + step) * A::kPitch + position<A>(row_, i));
#pragma unroll
        for (int l = 0; l < 4; ++l) a[l][step] = four[l];
      }
    }
  }

  float sum_[kRows][kColumns][1];
  int row_, column_;
};

}  // namespace epitaxy::EPITAXY_WORLD
