// What emulated kernels call for Hopper's instructions (kernels/device/ptx_sm90.cuh gives these their names): barriers in shared memory,
// TMA copies, wgmma, proxy fences. Profile sm_90 only; each call stops the launch on another profile.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/runtime.h"
#include "kernels/tensor_map.h"

namespace epitaxy::emulated {

/// The address in the block's shared window, as descriptors hold it.
unsigned shared_offset(const void* address, Site site);

// The 64-bit barrier holds phase, expected and pending arrivals and the bytes still to come.
void init_mbarrier(std::uint64_t* barrier, unsigned arrivals, Site site);
void fence_mbarrier_init(Site site);
/// Raises the bytes to come by `bytes`, then arrives.
void arrive_mbarrier(std::uint64_t* barrier, unsigned bytes, Site site);
void wait_mbarrier(std::uint64_t* barrier, unsigned parity, Site site);

/// A load into shared memory that completes on the barrier. `offsets` (W, H) for im2col maps, null for tiled ones.
void load_box(void* to, const TensorMap& map, std::uint64_t* barrier, int rank, const int* coordinates, const unsigned* offsets, Site site);
void store_box(const TensorMap& map, const void* from, int rank, const int* coordinates, Site site);
void commit_stores(Site site);
/// `read`: waits until the sources have been read, not until the result is written.
void wait_stores(unsigned groups_left_pending, bool read, Site site);
void fence_async_proxy(Site site);

enum class WgmmaType : std::uint8_t { bf16, fp16, tf32 };
/// One wgmma.mma_async m64nNk(32 bytes). `d`: N / 2 accumulators of the lane. A: descriptor, or four registers where registers_a is not
/// null.
struct Wgmma {
  WgmmaType type;
  int n;
  bool transpose_a, transpose_b;  // MN-major
  bool accumulate;
  const std::uint32_t* registers_a;
  std::uint64_t a, b;
};
void wgmma_issue(float* d, const Wgmma& operation, Site site);
void wgmma_fence_registers(Site site);
void wgmma_commit_group(Site site);
void wgmma_wait_groups(unsigned groups_left_pending, Site site);

/// stmatrix: row = the lane's row address.
void store_matrix(Meeting kind, void* row, const std::uint32_t* registers, Site site);
void meet_named(int id, int threads, bool wait, Site site);
void set_max_registers(int count, bool increase, Site site);
bool elect_lane(Site site);

}  // namespace epitaxy::emulated
