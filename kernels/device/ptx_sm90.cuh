// Hopper's instructions (sm_90a), each a small function with a device body and an emulated one: barriers in shared memory (mbarrier), TMA
// copies, wgmma, stmatrix, named barriers, register budgets. Compiled for another architecture their bodies trap.
//
// A producer warp and two consumer warpgroups (threads 0-255; the producer is warpgroup 2), kStages buffers of a 128 x 64 tile of A
// and a 64-row tile of B, both [row][64] of 16-bit elements (K-major), swizzled:
//
//   EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
//   unsigned char* tiles = align_shared<1024>(memory);         // ask for 1024 bytes more than the tiles need
//   EPITAXY_SHARED(Mbarrier, full, [kStages]);
//   EPITAXY_SHARED(Mbarrier, empty, [kStages]);
//   if (threadIdx.x == 0) {
//     for (int i = 0; i < kStages; ++i) mbarrier_init(&full[i], 1), mbarrier_init(&empty[i], 2);  // 2: one arrival per consumer warpgroup
//     mbarrier_init_fence();
//   }
//   __syncthreads();
//   if (warpgroup == 2) {                                      // producer
//     setmaxnreg_dec<40>();                                    // by the whole warpgroup
//     if (threadIdx.x == 256) {
//       for (int step = 0; step < steps; ++step) {
//         const int stage = step % kStages, round = step / kStages;
//         mbarrier_wait(&empty[stage], (round & 1) ^ 1);       // at once in round 0
//         mbarrier_arrive_expect_tx(&full[stage], kBytesOfAAndB);
//         tma_load_im2col_4d(a_tile(stage), p.x, &full[stage], c, w, h, n, offset_w, offset_h);
//         tma_load_2d(b_tile(stage), p.filter, &full[stage], c, k);
//       }
//     }
//   } else {                                                   // consumers: rows 64 * warpgroup .. + 63 of A
//     setmaxnreg_inc<232>();
//     float d[64 / 2];                                         // N / 2 accumulators
//     for (int step = 0; step < steps; ++step) {
//       const int stage = step % kStages, round = step / kStages;
//       mbarrier_wait(&full[stage], round & 1);
//       wgmma_fence();
//       const std::uint64_t a = wgmma_descriptor(a_tile(stage) + warpgroup * 64 * 128), b = wgmma_descriptor(b_tile(stage));
//       for (int k = 0; k < 4; ++k)                            // 16 elements = 32 bytes each
//         wgmma_m64k16<T, 64>(d, wgmma_advance(a, 32 * k), wgmma_advance(b, 32 * k), step + k > 0);
//       wgmma_commit();
//       wgmma_wait<0>(d);                                      // or <1>(d), then release the stage before this one
//       if (threadIdx.x % 128 == 0) mbarrier_arrive(&empty[stage]);
//     }
//   }
//
// Accumulators of lane l (g = l / 4, t = l % 4) of warp w of the warpgroup: d[4 i + j] is element (16 w + g + 8 (j / 2), 8 i + 2 t + j %
// 2).
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/device/ptx.cuh"
#include "kernels/device/tensor_map.cuh"

#if defined(EPITAXY_EMULATED)
#include "emulator/sm90.h"
#define EPITAXY_SITE_ONLY Site site = {__builtin_FILE(), __builtin_LINE()}
#define EPITAXY_SITE_PARAMETER , EPITAXY_SITE_ONLY
// Instruction: what the emulator does, or inline assembly.
#define EPITAXY_INSTRUCTION(emulated_call, ...) emulated_call
#else
#define EPITAXY_SITE_ONLY
#define EPITAXY_SITE_PARAMETER
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define EPITAXY_INSTRUCTION(emulated_call, ...) asm volatile(__VA_ARGS__)
#else
#define EPITAXY_INSTRUCTION(emulated_call, ...) __trap()
#endif
#endif

namespace epitaxy::EPITAXY_WORLD {

/// Whether this compilation's device code may hold Hopper instructions: `if constexpr (kHopper)` keeps a kernel's body from other
/// architectures.
#if defined(EPITAXY_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kHopper = true;
#else
inline constexpr bool kHopper = false;
#endif

#if defined(EPITAXY_EMULATED)
inline unsigned shared_address(const void* p EPITAXY_SITE_PARAMETER) { return shared_offset(p, site); }
#endif

/// The first byte at or after p with that alignment in shared memory. The swizzle needs 1024; dynamic memory is aligned to 128.
template <int kAlignment>
__device__ __forceinline__ unsigned char* align_shared(unsigned char* p) {
  return p + ((kAlignment - shared_address(p) % kAlignment) % kAlignment);
}

// ---- mbarrier: counts arrivals and bytes of asynchronous copies. A phase completes when all arrivals are in and no bytes are to come ----
struct alignas(8) Mbarrier {
  std::uint64_t state;
};

/// Of one thread; `arrivals` a phase. Others may use it after mbarrier_init_fence() of that thread and a barrier of the block.
__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, unsigned arrivals EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(init_mbarrier(&barrier->state, arrivals, site),
                      "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
                      : "memory");
}

/// Makes initialised barriers visible to the asynchronous proxy.
__device__ __forceinline__ void mbarrier_init_fence(EPITAXY_SITE_ONLY) {
  EPITAXY_INSTRUCTION(fence_mbarrier_init(site), "fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(arrive_mbarrier(&barrier->state, 0, site), "mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                      : "memory");
}

/// Adds `bytes` to those to come in this phase and arrives.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(Mbarrier* barrier, unsigned bytes EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(arrive_mbarrier(&barrier->state, bytes, site),
                      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                      : "memory");
}

/// Returns when the phase of that parity has completed: 0 for the first phase, 1 for the second, ... Before the first completion,
/// parity 1 returns at once. What arriving threads and copies wrote before is visible afterwards.
__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, unsigned parity EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(wait_mbarrier(&barrier->state, parity, site),
                      "{\n"
                      ".reg .pred done;\n"
                      "again:\n"
                      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                      "@done bra.uni finished;\n"
                      "bra.uni again;\n"
                      "finished:\n"
                      "}" ::"r"(shared_address(barrier)),
                      "r"(parity)
                      : "memory");
}

// ---- TMA: one thread starts the copy of a whole box ----
#define EPITAXY_MAP(map) "l"(reinterpret_cast<std::uint64_t>(&(map)))

/// Loads the box at these coordinates (elements, innermost first; may lie outside) into shared memory aligned to 128 bytes (1024 where
/// swizzled); map.bytes() then complete on the barrier.
__device__ __forceinline__ void tma_load_2d(void* to, const DeviceTensorMap& map, Mbarrier* barrier, int c0,
                                            int c1 EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  const int coordinates[] = {c0, c1};
#endif
  EPITAXY_INSTRUCTION(
      load_box(to, map, &barrier->state, 2, coordinates, nullptr, site),
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
      EPITAXY_MAP(map), "r"(shared_address(barrier)), "r"(c0), "r"(c1)
      : "memory");
}

__device__ __forceinline__ void tma_load_3d(void* to, const DeviceTensorMap& map, Mbarrier* barrier, int c0, int c1,
                                            int c2 EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  const int coordinates[] = {c0, c1, c2};
#endif
  EPITAXY_INSTRUCTION(load_box(to, map, &barrier->state, 3, coordinates, nullptr, site),
                      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
                          shared_address(to)),
                      EPITAXY_MAP(map), "r"(shared_address(barrier)), "r"(c0), "r"(c1), "r"(c2)
                      : "memory");
}

__device__ __forceinline__ void tma_load_4d(void* to, const DeviceTensorMap& map, Mbarrier* barrier, int c0, int c1, int c2,
                                            int c3 EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  const int coordinates[] = {c0, c1, c2, c3};
#endif
  EPITAXY_INSTRUCTION(
      load_box(to, map, &barrier->state, 4, coordinates, nullptr, site),
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(
          shared_address(to)),
      EPITAXY_MAP(map), "r"(shared_address(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}

/// Loads channels c.. of map.pixels pixels, the first at (w, h, n), each shifted by the offsets (0-255): see TensorMap.
__device__ __forceinline__ void tma_load_im2col_4d(void* to, const DeviceTensorMap& map, Mbarrier* barrier, int c, int w, int h, int n,
                                                   unsigned offset_w, unsigned offset_h EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  const int coordinates[] = {c, w, h, n};
  const unsigned offsets[] = {offset_w, offset_h};
#endif
  EPITAXY_INSTRUCTION(load_box(to, map, &barrier->state, 4, coordinates, offsets, site),
                      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
                      "[%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(shared_address(to)),
                      EPITAXY_MAP(map), "r"(shared_address(barrier)), "r"(c), "r"(w), "r"(h), "r"(n),
                      "h"(static_cast<std::uint16_t>(offset_w)), "h"(static_cast<std::uint16_t>(offset_h))
                      : "memory");
}

/// Stores a box from shared memory; belongs to the group of this thread that the next tma_store_commit() closes. Before it the writers
/// of the box call fence_proxy_async() and meet at a barrier. What lies outside the tensor is not written.
__device__ __forceinline__ void tma_store_2d(const DeviceTensorMap& map, const void* from, int c0, int c1 EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  const int coordinates[] = {c0, c1};
#endif
  EPITAXY_INSTRUCTION(store_box(map, from, 2, coordinates, site),
                      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::EPITAXY_MAP(map),
                      "r"(shared_address(from)), "r"(c0), "r"(c1)
                      : "memory");
}

__device__ __forceinline__ void tma_store_3d(const DeviceTensorMap& map, const void* from, int c0, int c1, int c2 EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  const int coordinates[] = {c0, c1, c2};
#endif
  EPITAXY_INSTRUCTION(store_box(map, from, 3, coordinates, site),
                      "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::EPITAXY_MAP(map),
                      "r"(shared_address(from)), "r"(c0), "r"(c1), "r"(c2)
                      : "memory");
}

__device__ __forceinline__ void tma_store_4d(const DeviceTensorMap& map, const void* from, int c0, int c1, int c2,
                                             int c3 EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  const int coordinates[] = {c0, c1, c2, c3};
#endif
  EPITAXY_INSTRUCTION(store_box(map, from, 4, coordinates, site),
                      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::EPITAXY_MAP(map),
                      "r"(shared_address(from)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                      : "memory");
}

__device__ __forceinline__ void tma_store_commit(EPITAXY_SITE_ONLY) {
  EPITAXY_INSTRUCTION(commit_stores(site), "cp.async.bulk.commit_group;" ::: "memory");
}

/// Waits until the sources of all but the latest kPending groups have been read, so that the shared memory may be written again. A thread
/// that stores must do so before it ends.
template <int kPending>
__device__ __forceinline__ void tma_store_wait_read(EPITAXY_SITE_ONLY) {
  EPITAXY_INSTRUCTION(wait_stores(kPending, true, site), "cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

/// Waits until all but the latest kPending groups have been written to global memory.
template <int kPending>
__device__ __forceinline__ void tma_store_wait(EPITAXY_SITE_ONLY) {
  EPITAXY_INSTRUCTION(wait_stores(kPending, false, site), "cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}

/// What this thread wrote to shared memory becomes visible to TMA and wgmma (of other threads after a barrier).
__device__ __forceinline__ void fence_proxy_async(EPITAXY_SITE_ONLY) {
  EPITAXY_INSTRUCTION(fence_async_proxy(site), "fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- wgmma: d[64, N] += a[64, 32 bytes] * b[32 bytes, N] by a warpgroup (4 warps, the first a multiple of 4), asynchronously ----
/// Before the first wgmma, and whenever registers of one (accumulators, A) were touched by other instructions since.
__device__ __forceinline__ void wgmma_fence(EPITAXY_SITE_ONLY) {
  EPITAXY_INSTRUCTION(wgmma_fence_registers(site), "wgmma.fence.sync.aligned;" ::: "memory");
}

/// Closes the group of this warp's wgmmas so far.
__device__ __forceinline__ void wgmma_commit(EPITAXY_SITE_ONLY) {
  EPITAXY_INSTRUCTION(wgmma_commit_group(site), "wgmma.commit_group.sync.aligned;" ::: "memory");
}

/// Waits until all but the latest kPending groups are done: then their shared operands may be overwritten and, where no later wgmma uses
/// them, their accumulators be read. Naming the accumulators keeps the compiler from moving their use to before the wait.
template <int kPending>
__device__ __forceinline__ void wgmma_wait(EPITAXY_SITE_ONLY) {
  EPITAXY_INSTRUCTION(wgmma_wait_groups(kPending, site), "wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
template <int kPending, int kCount>
__device__ __forceinline__ void wgmma_wait(float (&d)[kCount] EPITAXY_SITE_PARAMETER) {
#if defined(EPITAXY_EMULATED)
  static_cast<void>(d);
  wgmma_wait<kPending>(site);
#else
  wgmma_wait<kPending>();
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
#endif
}

/// The descriptor of a swizzled operand in shared memory aligned to 1024 bytes.
/// K-major: rows (of M or N) of 128 bytes, 8 rows in 1024 bytes; groups of 8 rows are `stride_bytes` apart. The next 32 bytes of K lie at
/// wgmma_advance(descriptor, 32); `leading_bytes` is not used.
/// MN-major (16-bit only, with kTransposeA or kTransposeB): rows (of K) of 64 elements of M or N; groups of 8 rows are `stride_bytes` apart
/// and blocks of 64 elements of M or N `leading_bytes`. The next 16 rows of K lie at wgmma_advance(descriptor, 2 * stride_bytes).
__device__ __forceinline__ std::uint64_t wgmma_descriptor(const void* tile, unsigned stride_bytes = 1024, unsigned leading_bytes = 16) {
  const std::uint64_t address = (shared_address(tile) & 0x3ffffu) >> 4;
  return address | static_cast<std::uint64_t>(leading_bytes >> 4) << 16 | static_cast<std::uint64_t>(stride_bytes >> 4) << 32 |
         std::uint64_t{1} << 62;
}

/// The operand `bytes` further on, a multiple of 16. Rows of 128 bytes may be skipped too: the swizzle goes by the address.
__device__ __forceinline__ std::uint64_t wgmma_advance(std::uint64_t descriptor, int bytes) {
  return descriptor + static_cast<std::uint64_t>(static_cast<std::int64_t>(bytes / 16));
}

#if !defined(EPITAXY_EMULATED)
// Operand lists: accumulators d[i..i+15], their places in the text, and for each N the places of what follows them.
#define EPITAXY_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define EPITAXY_D16(i) EPITAXY_D4(i), EPITAXY_D4(i + 4), EPITAXY_D4(i + 8), EPITAXY_D4(i + 12)
#define EPITAXY_P0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define EPITAXY_P1 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define EPITAXY_P2 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define EPITAXY_P3 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define EPITAXY_P4 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define EPITAXY_P5 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define EPITAXY_P6 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define EPITAXY_P7 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define EPITAXY_WGMMA_32(FORM, TYPES) FORM(TYPES, "n32", EPITAXY_P0, "%16", "%17", "%18", "%19", "%20", "%21", "%22", EPITAXY_D16(0))
#define EPITAXY_WGMMA_64(FORM, TYPES) \
  FORM(TYPES, "n64", EPITAXY_P0 ", " EPITAXY_P1, "%32", "%33", "%34", "%35", "%36", "%37", "%38", EPITAXY_D16(0), EPITAXY_D16(16))
#define EPITAXY_WGMMA_96(FORM, TYPES)                                                                                             \
  FORM(TYPES, "n96", EPITAXY_P0 ", " EPITAXY_P1 ", " EPITAXY_P2, "%48", "%49", "%50", "%51", "%52", "%53", "%54", EPITAXY_D16(0), \
       EPITAXY_D16(16), EPITAXY_D16(32))
#define EPITAXY_WGMMA_128(FORM, TYPES)                                                                                             \
  FORM(TYPES, "n128", EPITAXY_P0 ", " EPITAXY_P1 ", " EPITAXY_P2 ", " EPITAXY_P3, "%64", "%65", "%66", "%67", "%68", "%69", "%70", \
       EPITAXY_D16(0), EPITAXY_D16(16), EPITAXY_D16(32), EPITAXY_D16(48))
#define EPITAXY_WGMMA_192(FORM, TYPES)                                                                                                 \
  FORM(TYPES, "n192", EPITAXY_P0 ", " EPITAXY_P1 ", " EPITAXY_P2 ", " EPITAXY_P3 ", " EPITAXY_P4 ", " EPITAXY_P5, "%96", "%97", "%98", \
       "%99", "%100", "%101", "%102", EPITAXY_D16(0), EPITAXY_D16(16), EPITAXY_D16(32), EPITAXY_D16(48), EPITAXY_D16(64), EPITAXY_D16(80))
#define EPITAXY_WGMMA_256(FORM, TYPES)                                                                                                     \
  FORM(TYPES, "n256",                                                                                                                      \
       EPITAXY_P0 ", " EPITAXY_P1 ", " EPITAXY_P2 ", " EPITAXY_P3 ", " EPITAXY_P4 ", " EPITAXY_P5 ", " EPITAXY_P6 ", " EPITAXY_P7, "%128", \
       "%129", "%130", "%131", "%132", "%133", "%134", EPITAXY_D16(0), EPITAXY_D16(16), EPITAXY_D16(32), EPITAXY_D16(48), EPITAXY_D16(64), \
       EPITAXY_D16(80), EPITAXY_D16(96), EPITAXY_D16(112))
// Both operands from shared memory, 16-bit and tf32; A from registers.
#define EPITAXY_WGMMA_16(TYPES, N, PLACES, I0, I1, I2, I3, I4, I5, I6, ...)                                                            \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " I2 ", 0;\nwgmma.mma_async.sync.aligned.m64" N "k16.f32." TYPES " {" PLACES "}, " I0 \
               ", " I1 ", p, 1, 1, " I3 ", " I4 ";\n}"                                                                                 \
               : __VA_ARGS__                                                                                                           \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(static_cast<int>(kTransposeA)),                                \
                 "n"(static_cast<int>(kTransposeB)))
#define EPITAXY_WGMMA_TF32(TYPES, N, PLACES, I0, I1, I2, I3, I4, I5, I6, ...)                                                         \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " I2 ", 0;\nwgmma.mma_async.sync.aligned.m64" N "k8.f32." TYPES " {" PLACES "}, " I0 \
               ", " I1 ", p, 1, 1;\n}"                                                                                                \
               : __VA_ARGS__                                                                                                          \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)))
#define EPITAXY_WGMMA_A16(TYPES, N, PLACES, I0, I1, I2, I3, I4, I5, I6, ...)                                                            \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " I5 ", 0;\nwgmma.mma_async.sync.aligned.m64" N "k16.f32." TYPES " {" PLACES "}, {" I0 \
               ", " I1 ", " I2 ", " I3 "}, " I4 ", p, 1, 1, " I6 ";\n}"                                                                 \
               : __VA_ARGS__                                                                                                            \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),                                 \
                 "n"(static_cast<int>(kTransposeB)))
#define EPITAXY_WGMMA_A32(TYPES, N, PLACES, I0, I1, I2, I3, I4, I5, I6, ...)                                                           \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " I5 ", 0;\nwgmma.mma_async.sync.aligned.m64" N "k8.f32." TYPES " {" PLACES "}, {" I0 \
               ", " I1 ", " I2 ", " I3 "}, " I4 ", p, 1, 1;\n}"                                                                        \
               : __VA_ARGS__                                                                                                           \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)))
#endif

template <int N>
inline constexpr bool kWgmmaWidth = N == 32 || N == 64 || N == 96 || N == 128 || N == 192 || N == 256;

/// T is BFloat16 or Half. Operands by descriptor. accumulate = false: d = a * b, whatever d held.
template <class T, int N, bool kTransposeA = false, bool kTransposeB = false>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[N / 2], std::uint64_t a, std::uint64_t b, bool accumulate EPITAXY_SITE_PARAMETER) {
  static_assert(kWgmmaWidth<N> && (std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>));
#if defined(EPITAXY_EMULATED)
  constexpr auto kType = std::is_same_v<T, BFloat16> ? WgmmaType::bf16 : WgmmaType::fp16;
  wgmma_issue(d, {kType, N, kTransposeA, kTransposeB, accumulate, nullptr, a, b}, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (std::is_same_v<T, BFloat16>) {
    if constexpr (N == 32) {
      EPITAXY_WGMMA_32(EPITAXY_WGMMA_16, "bf16.bf16");
    } else if constexpr (N == 64) {
      EPITAXY_WGMMA_64(EPITAXY_WGMMA_16, "bf16.bf16");
    } else if constexpr (N == 96) {
      EPITAXY_WGMMA_96(EPITAXY_WGMMA_16, "bf16.bf16");
    } else if constexpr (N == 128) {
      EPITAXY_WGMMA_128(EPITAXY_WGMMA_16, "bf16.bf16");
    } else if constexpr (N == 192) {
      EPITAXY_WGMMA_192(EPITAXY_WGMMA_16, "bf16.bf16");
    } else if constexpr (N == 256) {
      EPITAXY_WGMMA_256(EPITAXY_WGMMA_16, "bf16.bf16");
    }
  } else {
    if constexpr (N == 32) {
      EPITAXY_WGMMA_32(EPITAXY_WGMMA_16, "f16.f16");
    } else if constexpr (N == 64) {
      EPITAXY_WGMMA_64(EPITAXY_WGMMA_16, "f16.f16");
    } else if constexpr (N == 96) {
      EPITAXY_WGMMA_96(EPITAXY_WGMMA_16, "f16.f16");
    } else if constexpr (N == 128) {
      EPITAXY_WGMMA_128(EPITAXY_WGMMA_16, "f16.f16");
    } else if constexpr (N == 192) {
      EPITAXY_WGMMA_192(EPITAXY_WGMMA_16, "f16.f16");
    } else if constexpr (N == 256) {
      EPITAXY_WGMMA_256(EPITAXY_WGMMA_16, "f16.f16");
    }
  }
#else
  __trap();
#endif
}

/// fp32 in shared memory, both K-major; the lower 13 bits are ignored.
template <int N>
__device__ __forceinline__ void wgmma_m64k8_tf32(float (&d)[N / 2], std::uint64_t a, std::uint64_t b,
                                                 bool accumulate EPITAXY_SITE_PARAMETER) {
  static_assert(kWgmmaWidth<N>);
#if defined(EPITAXY_EMULATED)
  wgmma_issue(d, {WgmmaType::tf32, N, false, false, accumulate, nullptr, a, b}, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (N == 32) {
    EPITAXY_WGMMA_32(EPITAXY_WGMMA_TF32, "tf32.tf32");
  } else if constexpr (N == 64) {
    EPITAXY_WGMMA_64(EPITAXY_WGMMA_TF32, "tf32.tf32");
  } else if constexpr (N == 96) {
    EPITAXY_WGMMA_96(EPITAXY_WGMMA_TF32, "tf32.tf32");
  } else if constexpr (N == 128) {
    EPITAXY_WGMMA_128(EPITAXY_WGMMA_TF32, "tf32.tf32");
  } else if constexpr (N == 192) {
    EPITAXY_WGMMA_192(EPITAXY_WGMMA_TF32, "tf32.tf32");
  } else if constexpr (N == 256) {
    EPITAXY_WGMMA_256(EPITAXY_WGMMA_TF32, "tf32.tf32");
  }
#else
  __trap();
#endif
}

/// A in registers, as of mma_m16n8k16 for the 16 rows of each warp; they stay untouched until the wait.
template <class T, int N, bool kTransposeB = false>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[N / 2], const std::uint32_t (&a)[4], std::uint64_t b,
                                             bool accumulate EPITAXY_SITE_PARAMETER) {
  static_assert(kWgmmaWidth<N> && (std::is_same_v<T, BFloat16> || std::is_same_v<T, Half>));
#if defined(EPITAXY_EMULATED)
  constexpr auto kType = std::is_same_v<T, BFloat16> ? WgmmaType::bf16 : WgmmaType::fp16;
  wgmma_issue(d, {kType, N, false, kTransposeB, accumulate, a, 0, b}, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (std::is_same_v<T, BFloat16>) {
    if constexpr (N == 32) {
      EPITAXY_WGMMA_32(EPITAXY_WGMMA_A16, "bf16.bf16");
    } else if constexpr (N == 64) {
      EPITAXY_WGMMA_64(EPITAXY_WGMMA_A16, "bf16.bf16");
    } else if constexpr (N == 96) {
      EPITAXY_WGMMA_96(EPITAXY_WGMMA_A16, "bf16.bf16");
    } else if constexpr (N == 128) {
      EPITAXY_WGMMA_128(EPITAXY_WGMMA_A16, "bf16.bf16");
    } else if constexpr (N == 192) {
      EPITAXY_WGMMA_192(EPITAXY_WGMMA_A16, "bf16.bf16");
    } else if constexpr (N == 256) {
      EPITAXY_WGMMA_256(EPITAXY_WGMMA_A16, "bf16.bf16");
    }
  } else {
    if constexpr (N == 32) {
      EPITAXY_WGMMA_32(EPITAXY_WGMMA_A16, "f16.f16");
    } else if constexpr (N == 64) {
      EPITAXY_WGMMA_64(EPITAXY_WGMMA_A16, "f16.f16");
    } else if constexpr (N == 96) {
      EPITAXY_WGMMA_96(EPITAXY_WGMMA_A16, "f16.f16");
    } else if constexpr (N == 128) {
      EPITAXY_WGMMA_128(EPITAXY_WGMMA_A16, "f16.f16");
    } else if constexpr (N == 192) {
      EPITAXY_WGMMA_192(EPITAXY_WGMMA_A16, "f16.f16");
    } else if constexpr (N == 256) {
      EPITAXY_WGMMA_256(EPITAXY_WGMMA_A16, "f16.f16");
    }
  }
#else
  __trap();
#endif
}

/// A in registers, as of mma_m16n8k8_tf32.
template <int N>
__device__ __forceinline__ void wgmma_m64k8_tf32(float (&d)[N / 2], const std::uint32_t (&a)[4], std::uint64_t b,
                                                 bool accumulate EPITAXY_SITE_PARAMETER) {
  static_assert(kWgmmaWidth<N>);
#if defined(EPITAXY_EMULATED)
  wgmma_issue(d, {WgmmaType::tf32, N, false, false, accumulate, a, 0, b}, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (N == 32) {
    EPITAXY_WGMMA_32(EPITAXY_WGMMA_A32, "tf32.tf32");
  } else if constexpr (N == 64) {
    EPITAXY_WGMMA_64(EPITAXY_WGMMA_A32, "tf32.tf32");
  } else if constexpr (N == 96) {
    EPITAXY_WGMMA_96(EPITAXY_WGMMA_A32, "tf32.tf32");
  } else if constexpr (N == 128) {
    EPITAXY_WGMMA_128(EPITAXY_WGMMA_A32, "tf32.tf32");
  } else if constexpr (N == 192) {
    EPITAXY_WGMMA_192(EPITAXY_WGMMA_A32, "tf32.tf32");
  } else if constexpr (N == 256) {
    EPITAXY_WGMMA_256(EPITAXY_WGMMA_A32, "tf32.tf32");
  }
#else
  __trap();
#endif
}

#if !defined(EPITAXY_EMULATED)
#undef EPITAXY_D4
#undef EPITAXY_D16
#undef EPITAXY_P0
#undef EPITAXY_P1
#undef EPITAXY_P2
#undef EPITAXY_P3
#undef EPITAXY_P4
#undef EPITAXY_P5
#undef EPITAXY_P6
#undef EPITAXY_P7
#undef EPITAXY_WGMMA_32
#undef EPITAXY_WGMMA_64
#undef EPITAXY_WGMMA_96
#undef EPITAXY_WGMMA_128
#undef EPITAXY_WGMMA_192
#undef EPITAXY_WGMMA_256
#undef EPITAXY_WGMMA_16
#undef EPITAXY_WGMMA_TF32
#undef EPITAXY_WGMMA_A16
#undef EPITAXY_WGMMA_A32
#endif

// ---- stmatrix: fragments as of ldmatrix to 8x8 tiles of 16-bit elements in shared memory ----
// Lane l gives the address of row l % 8 (16 bytes, aligned) of tile l / 8; x2 uses those of lanes 0-15 only.
__device__ __forceinline__ void stmatrix_x2(void* row, const std::uint32_t (&r)[2] EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(store_matrix(Meeting::stmatrix_x2, row, r, site),
                      "stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(shared_address(row)), "r"(r[0]), "r"(r[1])
                      : "memory");
}

__device__ __forceinline__ void stmatrix_x2_trans(void* row, const std::uint32_t (&r)[2] EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(store_matrix(Meeting::stmatrix_x2_trans, row, r, site),
                      "stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(shared_address(row)), "r"(r[0]), "r"(r[1])
                      : "memory");
}

__device__ __forceinline__ void stmatrix_x4(void* row, const std::uint32_t (&r)[4] EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(store_matrix(Meeting::stmatrix_x4, row, r, site),
                      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)), "r"(r[0]), "r"(r[1]),
                      "r"(r[2]), "r"(r[3])
                      : "memory");
}

__device__ __forceinline__ void stmatrix_x4_trans(void* row, const std::uint32_t (&r)[4] EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(store_matrix(Meeting::stmatrix_x4_trans, row, r, site),
                      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)), "r"(r[0]),
                      "r"(r[1]), "r"(r[2]), "r"(r[3])
                      : "memory");
}

// ---- parts of a block ----
/// Barrier `id` (1-15; 0 is __syncthreads) of `threads` threads, whole warps.
__device__ __forceinline__ void named_barrier_sync(int id, int threads EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(meet_named(id, threads, true, site), "bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// Counts towards the barrier without waiting at it.
__device__ __forceinline__ void named_barrier_arrive(int id, int threads EPITAXY_SITE_PARAMETER) {
  EPITAXY_INSTRUCTION(meet_named(id, threads, false, site), "bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// Gives registers of the whole warpgroup back, or waits for more: kRegisters a thread from now on. The kernel needs
/// __launch_bounds__(threads, 1), or the compiler ignores both.
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_dec(EPITAXY_SITE_ONLY) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  EPITAXY_INSTRUCTION(set_max_registers(kRegisters, false, site), "setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_inc(EPITAXY_SITE_ONLY) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  EPITAXY_INSTRUCTION(set_max_registers(kRegisters, true, site), "setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// True in one lane of the (converged) warp, always the same one.
__device__ __forceinline__ bool elect_one(EPITAXY_SITE_ONLY) {
#if defined(EPITAXY_EMULATED)
  return elect_lane(site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  unsigned elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected)::"memory");
  return elected != 0;
#else
  return threadIdx.x % 32 == 0;
#endif
}

#undef EPITAXY_MAP
#undef EPITAXY_INSTRUCTION
#undef EPITAXY_SITE_PARAMETER
#undef EPITAXY_SITE_ONLY

}  // namespace epitaxy::EPITAXY_WORLD
