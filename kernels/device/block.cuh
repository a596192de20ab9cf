// Reductions over a one-dimensional block of kThreads threads in a fixed order. Every thread must call and receives the result.
#pragma once

#include "kernels/device/warp.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// op must be commutative; `neutral` leaves the other operand unchanged.
template <int kThreads, class T, class Op>
__device__ __forceinline__ T block_reduce(T value, Op op, T neutral) {
  static_assert(kThreads % 32 == 0 && kThreads >= 32 && kThreads <= 1024);
  constexpr int kWarps = kThreads / 32;
  value = warp_reduce(value, op);
  if constexpr (kWarps > 1) {
    EPITAXY_SHARED(T, partial, [kWarps]);
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    __syncthreads();  // an earlier call's partial results have been read
    if (lane == 0) partial[warp] = value;
    __syncthreads();
    value = warp_reduce(lane < kWarps ? partial[lane] : neutral, op);  // by every warp, which saves a broadcast
  }
  return value;
}

template <int kThreads, class T>
__device__ __forceinline__ T block_sum(T value) {
  return block_reduce<kThreads>(value, Add{}, T(0));
}

/// The maximum; `lowest` is the value of an empty set, e.g. -INFINITY.
template <int kThreads, class T>
__device__ __forceinline__ T block_max(T value, T lowest) {
  return block_reduce<kThreads>(value, Max{}, lowest);
}

template <int kThreads, class T>
__device__ __forceinline__ T block_min(T value, T highest) {
  return block_reduce<kThreads>(value, Min{}, highest);
}

}  // namespace epitaxy::EPITAXY_WORLD
