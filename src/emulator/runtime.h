// What emulated kernels call: the position of the current thread, barriers, warp exchanges, shared memory, asynchronous
// copies, and the launch itself. cuda_threads.h and kernels/device/ptx.cuh give these their CUDA names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include "emulator/cuda_types.h"
#include "epitaxy/device.h"

namespace epitaxy::emulated {

/// A place in a kernel's source, for messages and for telling barriers apart. Written by default arguments.
struct Site {
  const char* file;
  int line;
};

// Position of the running thread; the scheduler sets them at every switch.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
inline constexpr int warpSize = 32;

/// What a thread can wait for together with others.
enum class Meeting : std::uint8_t {
  none,
  syncthreads,
  syncthreads_count,
  syncthreads_and,
  syncthreads_or,  // the block
  syncwarp,
  shuffle,
  ballot,
  all,
  any,
  match_any,  // the lanes of a mask
  reduce_add,
  reduce_min,
  reduce_max,
  reduce_min_signed,
  reduce_max_signed,
  reduce_and,
  reduce_or,
  reduce_xor,
  ldmatrix_x2,
  ldmatrix_x2_trans,
  ldmatrix_x4,
  ldmatrix_x4_trans,  // the whole warp
  mma_bf16,
  mma_fp16,
  mma_tf32,
  stmatrix_x2,
  stmatrix_x2_trans,
  stmatrix_x4,
  stmatrix_x4_trans,
  wgmma,
  wgmma_fence,
  wgmma_commit,
  wgmma_wait,
  setmaxnreg,
  elect,
  mbarrier,       // those that wait for its phase
  named_barrier,  // part of a block
};

/// Waits for every thread of the block; returns the reduction of the predicates that the kind asks for.
int meet_block(Meeting kind, bool predicate, Site site);
/// Waits for the lanes of `mask`; the value this lane receives. `source` is the lane a shuffle reads.
std::uint64_t meet_lanes(Meeting kind, unsigned mask, std::uint64_t value, int source, Site site);
/// A matrix operation of the whole warp on register arrays. ldmatrix: a = the lane's row address. mma: out += a * b.
void meet_matrix(Meeting kind, void* out, const void* a, const void* b, Site site);
/// The lane of the running thread within its warp.
int lane_index();

/// __threadfence and __threadfence_block: from here on this thread's atomics order memory (seen by TSan only).
void fence();
bool atomics_order_memory();

/// cp.async of `bytes` to shared memory, of which `valid` are read and the rest are zero.
void copy_async(void* to, const void* from, unsigned bytes, unsigned valid, Site site);
void commit_async();
void wait_async(unsigned groups_left_pending);

/// The block's instance of a static shared variable; `key` tells declarations apart. Filled with 0xFF when first met.
void* shared_variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name, Site site);
/// The block's dynamic shared memory, aligned to 128 bytes.
void* dynamic_shared();

/// Ends the launch with an Error that names the kernel, the block and the thread.
[[noreturn]] void stop_kernel(const char* what, Site site);
/// A vector access must be aligned to its size, as on a GPU.
inline void require_aligned(const void* address, std::size_t alignment, const char* what,
                            Site site = {__builtin_FILE(), __builtin_LINE()}) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) [[unlikely]]
    stop_kernel(what, site);
}

struct LaunchShape {
  const char* kernel;
  dim3 grid;
  dim3 block;
  std::size_t dynamic_shared;
  const DeviceProfile* profile;  // null: the emulated backend's
};

/// Runs `thread(closure)` once for every thread of the grid. Throws Error for a refused shape and for whatever a thread does wrong.
void run_grid(const LaunchShape& shape, void (*thread)(const void*), const void* closure);

template <class... Parameters, class... Arguments>
void launch(Stream stream, const char* kernel_name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "a kernel is launched with exactly its parameters");
  struct Closure {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  };
  const Closure closure{kernel, std::tuple<Parameters...>{static_cast<Parameters>(std::forward<Arguments>(arguments))...}};
  run_grid(
      {kernel_name, grid, block, dynamic_shared_bytes, stream.profile},
      [](const void* memory) {
        const auto& self = *static_cast<const Closure*>(memory);
        std::apply(self.kernel, self.arguments);
      },
      &closure);
}

}  // namespace epitaxy::emulated

/// EPITAXY_SHARED(float, tile, [32][33]): static shared memory of the block.
#define EPITAXY_SHARED(type, name, ...)                                                                                               \
  static char epitaxy_key_##name;                                                                                                     \
  using epitaxy_type_##name = type __VA_ARGS__;                                                                                       \
  auto& name = *static_cast<epitaxy_type_##name*>(::epitaxy::emulated::shared_variable(                                               \
      &epitaxy_key_##name, sizeof(epitaxy_type_##name), alignof(epitaxy_type_##name) < 16 ? 16 : alignof(epitaxy_type_##name), #name, \
      {__FILE__, __LINE__}))

/// EPITAXY_DYNAMIC_SHARED(float, memory): a pointer to the launch's dynamic shared memory.
#define EPITAXY_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::epitaxy::emulated::dynamic_shared())
