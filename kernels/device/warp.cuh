// Reductions over a warp in a fixed order: every lane receives the same bits on every run. All 32 lanes must call.
#pragma once

#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

inline constexpr unsigned kFullWarp = 0xffffffffu;

struct Add {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};

/// The larger; a NaN wins, so that it is not hidden.
struct Max {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};

struct Min {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};

/// op over groups of kLanes neighbouring lanes (a power of two); op must be commutative. A butterfly: all lanes hold the result.
template <int kLanes = 32, class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
  static_assert(kLanes >= 1 && kLanes <= 32 && (kLanes & (kLanes - 1)) == 0);
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) value = op(value, __shfl_xor_sync(kFullWarp, value, distance));
  return value;
}

template <int kLanes = 32, class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce<kLanes>(value, Add{});
}

template <int kLanes = 32, class T>
__device__ __forceinline__ T warp_max(T value) {
  return warp_reduce<kLanes>(value, Max{});
}

template <int kLanes = 32, class T>
__device__ __forceinline__ T warp_min(T value) {
  return warp_reduce<kLanes>(value, Min{});
}

}  // namespace epitaxy::EPITAXY_WORLD
