// The only file with inline PTX: asynchronous copies, ldmatrix, mma.sync and fast conversions (sm_80 and later), each a small
// function with a device body and an emulated one.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

#if defined(EPITAXY_EMULATED)
#define EPITAXY_SITE_PARAMETER , Site site = {__builtin_FILE(), __builtin_LINE()}
#else
#define EPITAXY_SITE_PARAMETER
__device__ __forceinline__ unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }
#endif

// ---- cp.async: global to shared without registers ----
// Copies kBytes (both addresses aligned to that); writes zeros and reads nothing when !valid. Belongs to the group closed by the
// next cp_async_commit; visible to this thread after cp_async_wait, to the block after the barrier that follows it.
template <int kBytes>
__device__ __forceinline__ void cp_async(void* shared, const void* global, bool valid EPITAXY_SITE_PARAMETER) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
#if defined(EPITAXY_EMULATED)
  copy_async(shared, global, kBytes, valid ? kBytes : 0, site);
#else
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)), "l"(global), "n"(kBytes), "r"(bytes)
                 : "memory");
#endif
}

#if defined(EPITAXY_EMULATED)
inline void cp_async_16(void* shared, const void* global, bool valid EPITAXY_SITE_PARAMETER) { cp_async<16>(shared, global, valid, site); }
inline void cp_async_8(void* shared, const void* global, bool valid EPITAXY_SITE_PARAMETER) { cp_async<8>(shared, global, valid, site); }
inline void cp_async_4(void* shared, const void* global, bool valid EPITAXY_SITE_PARAMETER) { cp_async<4>(shared, global, valid, site); }
#else
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid) { cp_async<16>(shared, global, valid); }
__device__ __forceinline__ void cp_async_8(void* shared, const void* global, bool valid) { cp_async<8>(shared, global, valid); }
__device__ __forceinline__ void cp_async_4(void* shared, const void* global, bool valid) { cp_async<4>(shared, global, valid); }
#endif

__device__ __forceinline__ void cp_async_commit() {
#if defined(EPITAXY_EMULATED)
  commit_async();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most kPending of this thread's latest groups are still under way.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
#if defined(EPITAXY_EMULATED)
  wait_async(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// ---- ldmatrix: 8x8 tiles of 16-bit elements from shared memory into mma fragments ----
// Lane l gives the address of row l % 8 (16 bytes, aligned) of tile l / 8; r[i] receives of tile i the elements
// (row l / 4, columns 2 (l % 4) and +1), or of its transpose. x2 reads the addresses of lanes 0-15 only.
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&r)[4], const void* row EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  meet_matrix(Meeting::ldmatrix_x4, r, row, nullptr, site);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

__device__ __forceinline__ void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  meet_matrix(Meeting::ldmatrix_x4_trans, r, row, nullptr, site);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

__device__ __forceinline__ void ldmatrix_x2(std::uint32_t (&r)[2], const void* row EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  meet_matrix(Meeting::ldmatrix_x2, r, row, nullptr, site);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
#endif
}

__device__ __forceinline__ void ldmatrix_x2_trans(std::uint32_t (&r)[2], const void* row EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  meet_matrix(Meeting::ldmatrix_x2_trans, r, row, nullptr, site);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
#endif
}

// ---- mma.sync: d[16, 8] += a[16, k] * b[k, 8], fp32 accumulation ----
// With g = lane / 4, t = lane % 4:  d = {(g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1)}.
// 16-bit, k = 16: a = {(g, 2t..), (g+8, 2t..), (g, 2t+8..), (g+8, 2t+8..)}, b = {(2t.., g), (2t+8.., g)}, two elements a register.
// tf32, k = 8:    a = {(g, t), (g+8, t), (g, t+4), (g+8, t+4)}, b = {(t, g), (t+4, g)}; the lower 13 bits are ignored.
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2] EPITAXY_SITE_PARAMETER) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>);
#if defined(EPITAXY_EMULATED)
  meet_matrix(std::is_same_v<T, BFloat16> ? Meeting::mma_bf16 : Meeting::mma_fp16, d, a, b, site);
#else
  if constexpr (std::is_same_v<T, BFloat16>)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const std::uint32_t (&a)[4],
                                                 const std::uint32_t (&b)[2] EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  meet_matrix(Meeting::mma_tf32, d, a, b, site);
#else
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// ---- conversions ----
/// The bits of x rounded to tf32, ties away from zero.
__device__ __forceinline__ std::uint32_t cvt_tf32(float x) {
#if defined(EPITAXY_EMULATED)
  return std::bit_cast<std::uint32_t>(round_tf32(x));
#else
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#endif
}

/// Two floats rounded to T (BFloat16 or Half) in one register, `low` in the lower half.
template <class T>
__device__ __forceinline__ std::uint32_t pack_rounded(float low, float high) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>);
#if defined(EPITAXY_EMULATED)
  return static_cast<std::uint32_t>(round<T>(low).bits) | (static_cast<std::uint32_t>(round<T>(high).bits) << 16);
#else
  std::uint32_t packed;
  if constexpr (std::is_same_v<T, BFloat16>)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#endif
}

/// x of any storage type (float, BFloat16, Half, integers) as fp32, in one instruction where there is one.
template <class T>
__device__ __forceinline__ float load_float(T x) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<float>(x);
  } else {
#if !defined(EPITAXY_EMULATED)
    if constexpr (std::is_same_v<T, Half>) {
      float value;
      asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
      return value;
    }
#endif
    return to_float(x);
  }
}

/// x rounded to T (float, BFloat16, Half), to nearest even.
template <class T>
__device__ __forceinline__ T store_float(float x) {
#if !defined(EPITAXY_EMULATED)
  if constexpr (std::is_same_v<T, Half>) {
    T value;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(value.bits) : "f"(x));
    return value;
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return {static_cast<std::uint16_t>(pack_rounded<BFloat16>(x, 0.0f))};
  }
#endif
  return round<T>(x);
}

#undef EPITAXY_SITE_PARAMETER

}  // namespace epitaxy::EPITAXY_WORLD
