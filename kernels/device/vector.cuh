// Wide loads and stores: N elements in one access of up to 16 bytes, optionally converted to and from fp32.
#pragma once

#include <bit>
#include <cstring>

#include "kernels/device/ptx.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// N elements that travel together; N * sizeof(T) is 1, 2, 4, 8 or 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  static_assert(sizeof(T) * N <= 16 && ((sizeof(T) * N) & (sizeof(T) * N - 1)) == 0);
  T values[N];
  __device__ __forceinline__ T& operator[](int i) { return values[i]; }
  __device__ __forceinline__ const T& operator[](int i) const { return values[i]; }
};

/// Elements of a 16-byte access.
template <class T>
inline constexpr int kVectorWidth = static_cast<int>(16 / sizeof(T));

/// Whether an access of N elements at p is allowed.
template <class T, int N>
__host__ __device__ __forceinline__ bool is_aligned(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p) % (sizeof(T) * N) == 0;
}

namespace vector_detail {
template <std::size_t kBytes>
struct Word;
template <>
struct Word<1> {
  using type = unsigned char;
};
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};
}  // namespace vector_detail

/// p must be aligned to the whole vector.
template <class T, int N>
__device__ __forceinline__ Vector<T, N> load_vector(const T* p) {
#if defined(EPITAXY_EMULATED)
  require_aligned(p, sizeof(T) * N, "misaligned load_vector");
  Vector<T, N> vector;
  std::memcpy(&vector, p, sizeof(vector));
  return vector;
#else
  using Word = typename vector_detail::Word<sizeof(T) * N>::type;
  return std::bit_cast<Vector<T, N>>(*reinterpret_cast<const Word*>(p));
#endif
}

template <class T, int N>
__device__ __forceinline__ void store_vector(T* p, const Vector<T, N>& vector) {
#if defined(EPITAXY_EMULATED)
  require_aligned(p, sizeof(T) * N, "misaligned store_vector");
  std::memcpy(p, &vector, sizeof(vector));
#else
  using Word = typename vector_detail::Word<sizeof(T) * N>::type;
  *reinterpret_cast<Word*>(p) = std::bit_cast<Word>(vector);
#endif
}

/// N elements as fp32, in as many 16-byte accesses as they need.
template <class T, int N>
__device__ __forceinline__ void load_floats(float (&values)[N], const T* p) {
  constexpr int kWidth = N < kVectorWidth<T> ? N : kVectorWidth<T>;
  static_assert(N % kWidth == 0);
#pragma unroll
  for (int i = 0; i < N; i += kWidth) {
    const auto vector = load_vector<T, kWidth>(p + i);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) values[i + j] = load_float(vector[j]);
  }
}

/// N floats rounded to T.
template <class T, int N>
__device__ __forceinline__ void store_floats(T* p, const float (&values)[N]) {
  constexpr int kWidth = N < kVectorWidth<T> ? N : kVectorWidth<T>;
  static_assert(N % kWidth == 0);
#pragma unroll
  for (int i = 0; i < N; i += kWidth) {
    Vector<T, kWidth> vector;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) vector[j] = store_float<T>(values[i + j]);
    store_vector(p + i, vector);
  }
}

/// N elements held as they lie in memory, so that several loads in flight cost few registers; moved in accesses of up to 16 bytes.
template <class T, int N>
struct Packed {
  static constexpr int kWidth = N < kVectorWidth<T> ? N : kVectorWidth<T>;
  Vector<T, kWidth> vectors[N / kWidth];
  __device__ __forceinline__ void load(const T* p) {
#pragma unroll
    for (int i = 0; i < N; i += kWidth) vectors[i / kWidth] = load_vector<T, kWidth>(p + i);
  }
  /// The first `valid` elements one by one; the rest are 0.
  __device__ __forceinline__ void load_some(const T* p, int valid) {
#pragma unroll
    for (int i = 0; i < N; ++i) vectors[i / kWidth][i % kWidth] = i < valid ? p[i] : store_float<T>(0.0f);
  }
  __device__ __forceinline__ void store(T* p) const {
#pragma unroll
    for (int i = 0; i < N; i += kWidth) store_vector(p + i, vectors[i / kWidth]);
  }
  __device__ __forceinline__ void store_some(T* p, int valid) const {
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (i < valid) p[i] = vectors[i / kWidth][i % kWidth];
  }
  __device__ __forceinline__ float get(int i) const { return load_float(vectors[i / kWidth][i % kWidth]); }
  __device__ __forceinline__ void set(int i, float value) { vectors[i / kWidth][i % kWidth] = store_float<T>(value); }
};

/// The first `valid` of N elements as fp32, the rest 0: one wide access where all are valid and p is aligned, else one by one.
template <int N, class T>
__device__ __forceinline__ void load_vector(const T* p, float (&values)[N], int valid) {
  if (valid >= N && is_aligned<T, (N < kVectorWidth<T> ? N : kVectorWidth<T>)>(p)) {
    load_floats(values, p);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) values[i] = i < valid ? load_float(p[i]) : 0.0f;
}

/// Stores the first `valid` of N floats rounded to T.
template <int N, class T>
__device__ __forceinline__ void store_vector(T* p, const float (&values)[N], int valid) {
  if (valid >= N && is_aligned<T, (N < kVectorWidth<T> ? N : kVectorWidth<T>)>(p)) {
    store_floats(p, values);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (i < valid) p[i] = store_float<T>(values[i]);
}

}  // namespace epitaxy::EPITAXY_WORLD
