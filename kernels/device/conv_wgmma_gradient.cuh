// How a tile of the input gradient leaves the registers on Hopper: another gradient added, one rounding, and on the staged rows the ReLU's
// mask and the sums for batch normalisation.
#pragma once

#include "kernels/device/conv_wgmma_store.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// The epilogue on kPart columns, from `first` on, of the staged units that the lane stores itself. sums: of these columns.
template <class T, int kPart>
__device__ __forceinline__ void finish_staged(const StagedRows<T>& rows, const ConvGradient& e, int first, float (&sums)[2][kPart]) {
  rows.each(e.channels, [&](T* shared, std::int64_t to, int at, int valid) {
    if (valid <= 0) return;
    float values[kPart];
    load_floats<T, kPart>(values, shared + first);
    finish_gradient<true, T, kPart>(e, to, at + first, kPart, values, sums);
    store_floats<T, kPart>(shared + first, values);
  });
}

/// The quarter of some columns that share_sums leaves to this lane.
__device__ __forceinline__ int own_quarter() { return static_cast<int>(threadIdx.x) / 8 % 4; }

/// Adds the sums of the four lanes with the same columns and leaves each its quarter of them.
template <int kCount>
__device__ __forceinline__ void share_sums(const float (&sums)[kCount], float* own) {
  const bool upper = own_quarter() / 2, odd = own_quarter() % 2;
  float half[kCount / 2];
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    const float low = sums[i], high = sums[i + kCount / 2];
    half[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, 16);
  }
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i) {
    const float low = half[i], high = half[i + kCount / 4];
    own[i] = (odd ? high : low) + __shfl_xor_sync(0xffffffffu, odd ? low : high, 8);
  }
}

/// A thread adds the warps' sums of 128 pixels of one column.
template <class Config>
__device__ __forceinline__ void add_gradient_sums(const ConvGradient& e, const unsigned char* staging, int pixel, int pixels, int column) {
  const int tile = static_cast<int>(threadIdx.x) / Config::kColumns, at = static_cast<int>(threadIdx.x) % Config::kColumns;
  const int first = pixel + tile * 128, channel = column + at;
  if (tile >= Config::kRowBlocks || channel >= e.channels || first >= pixels) return;
  constexpr int kWarps = 8 / Config::kRowBlocks;
  float sums[2] = {};
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    float pair[2];
    load_floats<float, 2>(pair, reinterpret_cast<const float*>(staging + (tile * kWarps + warp) * kStagingBytes) + 2 * at);
    sums[0] += pair[0], sums[1] += pair[1];
  }
  float* to = e.partials + 2 * static_cast<std::int64_t>(first / 128) * e.channels + channel;
  to[0] = sums[0] * e.inverse_std[channel], to[e.channels] = sums[1];
}

/// The input gradient: stores the consumers' tile, as store_tile does. Its parts follow each other in a loop that is not unrolled, in which
/// only the choice of the sums is: the epilogue is long.
template <class Config, class LineOf>
__device__ __forceinline__ void store_gradient_tile(const WgmmaStore& out, const WgmmaSums<Config>& sums, unsigned char* staging, int pixel,
                                                    int pixels, int column, LineOf&& line_of) {
  using T = typename Config::T;
  constexpr int kChunk = kLineBytes / sizeof(T), kChunks = Config::kColumns / kChunk, kUnit = StagedRows<T>::kUnit;
  constexpr int kPart = Config::kBlocks == 2 || Config::kColumns == 256 ? 4 : kUnit;  // where few registers are left
  constexpr int kQuarter = kPart / 4, kParts = kUnit / kPart;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, group = warp / 4;
  const ConvGradient& gradient = out.gradient;
  const bool summed = Config::kStatistics && gradient.partials;
  unsigned char* own = staging + warp * kStagingBytes;
  const bool aligned = out.columns % kUnit == 0;
  float all[kChunks][2][kUnit / 4] = {};  // of the warp's rows: this lane's quarters
#pragma unroll 1
  for (int step = 0; step < Config::kRowBlocks * kChunks; ++step) {
    const int block = step / kChunks, chunk = step % kChunks;
    const StagedRows<T> rows{own, lane, line_of(pixel + (group * Config::kRowBlocks + block) * 64 + warp % 4 * 16 + lane % 16),
                             column + chunk * kChunk, aligned};
    if (rows.column >= out.columns) continue;
    if (out.residual) {
      rows.load(static_cast<const T*>(out.residual), out.columns);
      __syncwarp();
    }
#pragma unroll
    for (int b = 0; b < Config::kRowBlocks; ++b)
#pragma unroll
      for (int c = 0; c < kChunks; ++c)
        if (b * kChunks + c == step) stage_fragment<T>(sums[b] + c * kChunk / 2, own, out, rows.column);
    __syncwarp();
    if (gradient.channels)
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        float part_sums[2][kPart] = {}, mine[kQuarter];
        finish_staged<T, kPart>(rows, gradient, part * kPart, part_sums);
        if (summed)
#pragma unroll
          for (int which = 0; which < 2; ++which) {
            share_sums<kPart>(part_sums[which], mine);
#pragma unroll
            for (int c = 0; c < kChunks; ++c)
#pragma unroll
              for (int e = 0; e < kQuarter; ++e) all[c][which][part * kQuarter + e] += c == chunk ? mine[e] : 0.0f;
          }
      }
    rows.template store<false>(out);
    __syncwarp();  // read before the next chunk overwrites it
  }
  if constexpr (Config::kStatistics)
    if (summed) {  // [columns][of dgamma, of dbeta]
#pragma unroll
      for (int c = 0; c < kChunks; ++c)
#pragma unroll
        for (int e = 0; e < kUnit / 4; ++e) {
          const float pair[2] = {all[c][0][e], all[c][1][e]};
          const int at = c * kChunk + lane % 8 * kUnit + e / kQuarter * kPart + own_quarter() * kQuarter + e % kQuarter;
          store_floats<float, 2>(reinterpret_cast<float*>(own) + 2 * at, pair);
        }
      meet_consumers();
      add_gradient_sums<Config>(gradient, staging, pixel, pixels, column);
      meet_consumers();  // read before the next tile overwrites it
    }
}

}  // namespace epitaxy::EPITAXY_WORLD
