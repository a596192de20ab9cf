// What the Hopper convolution kernels share: the ring of stages between the TMA producer and the wgmma consumers, and the tile product.
//
// A block has two consumer warpgroups and a producer, of which one thread works: a warp, or where the consumers need its registers a
// warpgroup. It walks over the tiles blockIdx.x, blockIdx.x + gridDim.x, ...; the producer runs ahead into the next tile while the
// consumers store the last one. A stage holds 128 bytes of the reduction for kRows rows of A and kColumns columns of B, swizzled:
//   along (K-major)     [rows][128 bytes of the reduction]
//   across (MN-major)   [rows / 64][64 steps of the reduction][64 rows], 16-bit only
#pragma once

#include "epitaxy/error.h"
#include "kernels/conv2d_wgmma.h"
#include "kernels/device/ptx_sm90.cuh"
#include "kernels/device/vector.cuh"

namespace epitaxy::EPITAXY_WORLD {

inline constexpr int kConsumers = 256;
inline constexpr int kLineBytes = 128;                 // of one row in one stage
inline constexpr int kBlock64Bytes = 64 * kLineBytes;  // 64 rows, or 64 steps of 64 rows
inline constexpr int kStagingBytes = 2048;             // of a consumer warp: 16 rows of 128 bytes on their way out

template <class T_, int kRows_, int kColumns_, bool kAAcross_, bool kBAcross_, bool kForward_ = !kBAcross_>
struct WgmmaConfig {
  using T = T_;
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr bool kAAcross = kAAcross_, kBAcross = kBAcross_, kForward = kForward_;
  static constexpr bool kStatistics = true;              // its rows are those of the result, so it can sum them up
  static constexpr int kDepth = kLineBytes / sizeof(T);  // of the reduction in a stage
  static constexpr int kRowBlocks = kRows / 128;         // blocks of 64 rows of a consumer warpgroup
  static constexpr int kABytes = kRows * kLineBytes, kBBytes = kColumns * kLineBytes, kStageBytes = kABytes + kBBytes;
  // The smallest tile leaves room for a second block, whose products go on while this one stores.
  static constexpr int kBlocks = kRows == 128 && kColumns == 64 ? 2 : 1;
  static constexpr int kStages = kBlocks == 2 ? 4 : kStageBytes <= 32768 ? 6 : kStageBytes <= 40960 ? 5 : 4;
  // A quarter of the multiprocessor has 512 registers a lane: 3 warps of 168, of which the producer's gives most away, or 5 of 96.
  static constexpr bool kMovesRegisters = kBlocks == 1;
  static constexpr int kThreads = kConsumers + (kMovesRegisters ? 128 : 32);
  static constexpr int kBarrierBytes = 128;
  static constexpr std::size_t kSharedBytes =
      kStages * kStageBytes + kConsumers / 32 * kStagingBytes + kBarrierBytes + 896;  // 896: to align
  static_assert(kBlocks * (kSharedBytes + 1024) <= 228 * 1024 && 2 * kStages * sizeof(Mbarrier) <= kBarrierBytes);
  static_assert(kRows % 128 == 0 && kColumns % 64 == 0 && (sizeof(T) == 2 || (!kAAcross && !kBAcross)));
};

/// A position in the ring of stages and how often it was passed.
template <int kStages>
struct Stage {
  int index = 0;
  unsigned round = 0;  // parity
  __device__ __forceinline__ void next() {
    if (++index == kStages) index = 0, round ^= 1;
  }
};

/// The block's dynamic shared memory.
template <class Config>
struct WgmmaMemory {
  unsigned char *stages, *staging;
  Mbarrier *full, *empty;
  __device__ __forceinline__ explicit WgmmaMemory(unsigned char* memory)
      : stages(align_shared<1024>(memory)),
        staging(stages + Config::kStages * Config::kStageBytes),
        full(reinterpret_cast<Mbarrier*>(staging + kConsumers / 32 * kStagingBytes)),
        empty(full + Config::kStages) {}
  /// By all threads of the block. A stage is full by the producer's word and its bytes, empty by one of each consumer warp.
  __device__ __forceinline__ void initialise() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < Config::kStages; ++i) mbarrier_init(&full[i], 1), mbarrier_init(&empty[i], kConsumers / 32);
      mbarrier_init_fence();
    }
    __syncthreads();
  }
  __device__ __forceinline__ unsigned char* a(int stage) const { return stages + stage * Config::kStageBytes; }
  __device__ __forceinline__ unsigned char* b(int stage) const { return a(stage) + Config::kABytes; }
};

/// The producer's part of one stage: load(a, b, barrier) starts copies of kStageBytes in all.
template <class Config, class Load>
__device__ __forceinline__ void fill_stage(const WgmmaMemory<Config>& memory, Stage<Config::kStages>& stage, Load&& load) {
  mbarrier_wait(&memory.empty[stage.index], stage.round ^ 1);
  Mbarrier* barrier = &memory.full[stage.index];
  mbarrier_arrive_expect_tx(barrier, Config::kStageBytes);
  load(memory.a(stage.index), memory.b(stage.index), barrier);
  stage.next();
}

/// The consumer warpgroup of this thread, by a shuffle so that the compiler knows it to be the same in the whole warp.
__device__ __forceinline__ int consumer_group() { return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0); }

template <class Config>
using WgmmaSums = float[Config::kRowBlocks][Config::kColumns / 2];

/// sums (+)= the warpgroup's rows of A times B, over one stage.
template <class Config>
__device__ __forceinline__ void multiply_stage(WgmmaSums<Config>& sums, const unsigned char* a_tile, const unsigned char* b_tile, int group,
                                               bool accumulate) {
  using T = typename Config::T;
  constexpr int kAStep = Config::kAAcross ? 16 * kLineBytes : 32, kBStep = Config::kBAcross ? 16 * kLineBytes : 32;
  const std::uint64_t a = wgmma_descriptor(a_tile + group * Config::kRowBlocks * kBlock64Bytes, 1024, kBlock64Bytes);
  const std::uint64_t b = wgmma_descriptor(b_tile, 1024, kBlock64Bytes);
#pragma unroll
  for (int step = 0; step < 4; ++step)
#pragma unroll
    for (int block = 0; block < Config::kRowBlocks; ++block) {
      const std::uint64_t a_step = wgmma_advance(a, block * kBlock64Bytes + step * kAStep), b_step = wgmma_advance(b, step * kBStep);
      if constexpr (sizeof(T) == 2)
        wgmma_m64k16<T, Config::kColumns, Config::kAAcross, Config::kBAcross>(sums[block], a_step, b_step, accumulate || step > 0);
      else
        wgmma_m64k8_tf32<Config::kColumns>(sums[block], a_step, b_step, accumulate || step > 0);
    }
}

/// The consumer warpgroup's part of one tile: `steps` stages, at least one (a second way to set the sums would make them spill). One group
/// of products stays in flight while the next stage is awaited.
template <class Config>
__device__ __forceinline__ void multiply_tile(WgmmaSums<Config>& sums, const WgmmaMemory<Config>& memory, Stage<Config::kStages>& stage,
                                              int group, int steps) {
  const bool speaks = threadIdx.x % 32 == 0;
  int before = 0;
  for (int step = 0; step < steps; ++step) {
    mbarrier_wait(&memory.full[stage.index], stage.round);
    wgmma_fence();
    multiply_stage<Config>(sums, memory.a(stage.index), memory.b(stage.index), group, step > 0);
    wgmma_commit();
    if (step > 0) {
      wgmma_wait<1>();
      if (speaks) mbarrier_arrive(&memory.empty[before]);
    }
    before = stage.index;
    stage.next();
  }
#pragma unroll
  for (int block = 0; block < Config::kRowBlocks; ++block) wgmma_wait<0>(sums[block]);
  if (speaks) mbarrier_arrive(&memory.empty[before]);
}

/// The parts of a block, each with its share of the registers where they move.
template <bool kMovesRegisters, class Consume, class Produce>
__device__ __forceinline__ void share_block(Consume&& consume, Produce&& produce) {
  if (threadIdx.x < kConsumers) {
    if constexpr (kMovesRegisters) setmaxnreg_inc<232>();
    consume();
  } else {
    if constexpr (kMovesRegisters) setmaxnreg_dec<40>();
    if (threadIdx.x == kConsumers) produce();
  }
}

/// Host: calls launch.template operator()<rows, columns>() for a tile without strips.
template <class Launch>
void with_wgmma_tile(Conv2dTile tile, Launch&& launch) {
  switch (tile) {
    case Conv2dTile::m128n64: return launch.template operator()<128, 64>();
    case Conv2dTile::m128n128: return launch.template operator()<128, 128>();
    case Conv2dTile::m128n256: return launch.template operator()<128, 256>();
    case Conv2dTile::m256n64: return launch.template operator()<256, 64>();
    case Conv2dTile::m256n128: return launch.template operator()<256, 128>();
    default: fail("conv2d: no wgmma kernel for this tile");
  }
}

/// The consumer warps meet: what they wrote to shared memory before is visible after.
__device__ __forceinline__ void meet_consumers() { named_barrier_sync(1, kConsumers); }

}  // namespace epitaxy::EPITAXY_WORLD
