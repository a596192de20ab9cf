// A product of matrices by TMA, mbarriers and wgmma that may have one bug, and small kernels for what it does not show.
#pragma once

#define EPITAXY_EMULATED 1

#include <vector>

#include "emulation.h"
#include "kernels/device/ptx_sm90.cuh"

namespace epitaxy::emulated {

enum class Bug {
  none,
  no_init_fence,             // before TMA uses the barriers
  wrong_parity,              // of the consumers
  wrong_producer_parity,     // deadlock
  no_empty_wait,             // the producer overwrites what is being read
  released_before_wait,      // the consumers give a buffer back before their wgmma is done
  released_one_too_early,    // they wait for the product before, and give this one's buffer back
  wait_group_off_by_one,     // at the end
  accumulators_before_wait,  // read
  no_wgmma_fence,            // after the accumulators were written
  too_few_bytes,             // expected
  too_many_bytes,            // expected: deadlock
  no_store_fence,            // fence.proxy.async before the TMA store
  fence_by_one,              // only the storing thread fences, before the others have written
  no_barrier_before_store,   // the others may not have written yet
  store_not_waited_for,      // the block ends, or overwrites, under the TMA store
  no_wait,                   // for the full buffer
};

inline constexpr int kBugSteps = 6, kBugRows = 64, kBugColumns = 32;

struct BugParams {
  TensorMap x, y, d;
};

// 160 threads: a consumer warpgroup and a producer warp; d[64][32] = 1 + x[64][k] y[32][k].
template <Bug kBug>
__global__ void product_kernel(const __grid_constant__ BugParams p) {
  constexpr int kStages = 2;
  constexpr unsigned kBytesX = 64 * 128, kBytes = kBytesX + 32 * 128;
  EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
  EPITAXY_SHARED(Mbarrier, full, [kStages]);
  EPITAXY_SHARED(Mbarrier, empty, [kStages]);
  unsigned char* const tiles = align_shared<1024>(memory);
  const auto stage_of = [&](int step) { return tiles + step % kStages * kBytes; };
  auto* const out = reinterpret_cast<float(*)[kBugColumns]>(tiles + kStages * kBytes);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) mbarrier_init(&full[i], 1), mbarrier_init(&empty[i], 1);
    if (kBug != Bug::no_init_fence) mbarrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x >= 128) {
    if (threadIdx.x > 128) return;
    for (int step = 0; step < kBugSteps; ++step) {
      const unsigned round = step / kStages;
      if (kBug != Bug::no_empty_wait) mbarrier_wait(&empty[step % kStages], (round & 1) ^ (kBug == Bug::wrong_producer_parity ? 0 : 1));
      mbarrier_arrive_expect_tx(&full[step % kStages], kBug == Bug::too_few_bytes    ? kBytesX
                                                       : kBug == Bug::too_many_bytes ? kBytes + 16
                                                                                     : kBytes);
      tma_load_2d(stage_of(step), p.x, &full[step % kStages], 64 * step, 0);
      tma_load_2d(stage_of(step) + kBytesX, p.y, &full[step % kStages], 64 * step, 0);
    }
    return;
  }
  float d[16];
  if (kBug != Bug::no_wgmma_fence) wgmma_fence();
  for (float& one : d) one = 1.0f;
  for (int step = 0; step < kBugSteps; ++step) {
    if (kBug != Bug::no_wait) mbarrier_wait(&full[step % kStages], (step / kStages & 1) ^ (kBug == Bug::wrong_parity ? 1 : 0));
    const std::uint64_t a = wgmma_descriptor(stage_of(step)), b = wgmma_descriptor(stage_of(step) + kBytesX);
    if (kBug != Bug::no_wgmma_fence) wgmma_fence();
    for (int k = 0; k < 4; ++k) wgmma_m64k16<BFloat16, 32>(d, wgmma_advance(a, 32 * k), wgmma_advance(b, 32 * k), true);
    wgmma_commit();
    if (kBug == Bug::released_before_wait && threadIdx.x == 0) mbarrier_arrive(&empty[step % kStages]);
    wgmma_wait<1>(d);
    if (kBug == Bug::released_one_too_early) {
      if (threadIdx.x == 0) mbarrier_arrive(&empty[step % kStages]);
    } else if (kBug != Bug::released_before_wait && step > 0 && threadIdx.x == 0) {
      mbarrier_arrive(&empty[(step - 1) % kStages]);
    }
  }
  if (kBug != Bug::accumulators_before_wait) wgmma_wait<kBug == Bug::wait_group_off_by_one ? 1 : 0>(d);
  const unsigned lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
  for (unsigned i = 0; i < 16; ++i) out[row + i / 2 % 2 * 8][i / 4 * 8 + column + i % 2] = d[i];
  if (kBug == Bug::accumulators_before_wait) wgmma_wait<0>(d);
  if (kBug == Bug::fence_by_one ? threadIdx.x == 0 : kBug != Bug::no_store_fence) fence_proxy_async();
  if (kBug != Bug::no_barrier_before_store) named_barrier_sync(1, 128);
  if (threadIdx.x == 0) {
    tma_store_2d(p.d, out, 0, 0);
    tma_store_commit();
    if (kBug != Bug::store_not_waited_for) tma_store_wait<0>();
  }
}

template <Bug kBug>
bool run_product() {
  constexpr int kDepth = 64 * kBugSteps;
  std::vector<BFloat16> x(kBugRows * kDepth), y(kBugColumns * kDepth);
  for (int i = 0; i < kBugRows * kDepth; ++i) x[i] = round<BFloat16>(static_cast<float>(i / 7 % 5 - 2));
  for (int i = 0; i < kBugColumns * kDepth; ++i) y[i] = round<BFloat16>(static_cast<float>(i / 3 % 7 - 3));
  auto& backend = emulated_backend();
  const auto on_device = [&](const std::vector<BFloat16>& values) {
    void* memory = backend.allocate(values.size() * 2);
    backend.copy(memory, values.data(), values.size() * 2, stream());
    return memory;
  };
  void* const device_x = on_device(x);
  void* const device_y = on_device(y);
  auto* const d = static_cast<float*>(backend.allocate(kBugRows * kBugColumns * 4));
  constexpr auto kSwizzle = TensorMap::Swizzle::swizzle128;
  const BugParams p{
      tiled_tensor_map(DType::bf16, device_x, {kDepth, kBugRows}, {kDepth}, {64, kBugRows}, kSwizzle),
      tiled_tensor_map(DType::bf16, device_y, {kDepth, kBugColumns}, {kDepth}, {64, kBugColumns}, kSwizzle),
      tiled_tensor_map(DType::fp32, d, {kBugColumns, kBugRows}, {kBugColumns}, {kBugColumns, kBugRows}, TensorMap::Swizzle::none)};
  const std::string error =
      error_of([&] { launch(stream(), "product", product_kernel<kBug>, 1, 160, 1024 + 2 * 96 * 128 + kBugRows * kBugColumns * 4, p); });
  bool right = true;
  for (int i = 0; i < kBugRows && error.empty(); ++i)
    for (int j = 0; j < kBugColumns; ++j) {
      float sum = 1.0f;
      for (int k = 0; k < kDepth; ++k) sum += to_float(x[i * kDepth + k]) * to_float(y[j * kDepth + k]);
      right &= d[i * kBugColumns + j] == sum;
    }
  for (void* memory : {device_x, device_y, static_cast<void*>(d)}) backend.free(memory);
  if (!error.empty()) fail(error);
  return right;
}

// Operands that ordinary stores have written.
template <bool kFixed>
__global__ void operand_kernel(float* y) {
  EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
  auto* const tile = reinterpret_cast<BFloat16*>(align_shared<1024>(memory));
  for (unsigned i = threadIdx.x; i < 64 * 64; i += 128) tile[i] = round<BFloat16>(1.0f);
  if constexpr (kFixed) fence_proxy_async();
  __syncthreads();
  float d[32];
  wgmma_fence();
  wgmma_m64k16<BFloat16, 64>(d, wgmma_descriptor(tile), wgmma_descriptor(tile), false);
  wgmma_commit();
  wgmma_wait<0>(d);
  for (int i = 0; i < 32; ++i) y[threadIdx.x * 32 + i] = d[i];
}

template <bool kFixed>
bool run_operand() {
  std::vector<float> y(128 * 32);
  launch(stream(), "operand", operand_kernel<kFixed>, 1, 128, 9 * 1024, y.data());
  return y == std::vector<float>(128 * 32, 16.0f);
}

// ---- misuse that an Error names ----

template <int kConsumer>
__global__ void budget_kernel(int* y) {  // 384 threads
  if (threadIdx.x < 128)
    setmaxnreg_dec<40>();
  else
    setmaxnreg_inc<kConsumer>();
  y[threadIdx.x] = 1;
}

__global__ void misuse_kernel(int which) {
  EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
  EPITAXY_SHARED(Mbarrier, barrier, [1]);
  const std::uint64_t tile = wgmma_descriptor(align_shared<1024>(memory));
  float d[32];
  if (threadIdx.x == 0 && which != 0) mbarrier_init(&barrier[0], which == 1 ? 1 : 256), mbarrier_init_fence();
  __syncthreads();
  const auto product = [&] { wgmma_m64k16<BFloat16, 64>(d, tile, tile, false); };
  switch (which) {
    case 0: mbarrier_wait(&barrier[0], 0); break;  // never initialised
    case 1:                                        // two phases end while others wait for the first
      if (threadIdx.x == 0)
        mbarrier_arrive(&barrier[0]), mbarrier_arrive(&barrier[0]);
      else
        mbarrier_wait(&barrier[0], 0);
      break;
    case 2: product(); break;  // no fence
    case 3:                    // a warp stays away
      if (threadIdx.x < 32) return;
      wgmma_fence(), product(), wgmma_commit();
      break;
    case 4: wgmma_fence(), product(), wgmma_commit(); break;  // no wait
    case 5: wgmma_fence(), product(), wgmma_commit(), d[3] = 1.0f, product(); break;
    case 6: named_barrier_sync(0, 128); break;
    case 7: named_barrier_sync(1, threadIdx.x < 32 ? 64 : 128); break;
    case 8: named_barrier_sync(1, 160); break;  // the block has 128
    case 9:
      if (threadIdx.x < 64) setmaxnreg_inc<232>();
      break;
    case 10:
      if (threadIdx.x < 64)
        setmaxnreg_inc<232>();
      else
        setmaxnreg_inc<240>();
      break;
    case 11: wgmma_fence(), wgmma_m64k16<BFloat16, 64>(d, wgmma_advance(tile, 32 * static_cast<int>(threadIdx.x / 32)), tile, false); break;
    case 12: wgmma_fence(), wgmma_m64k16<BFloat16, 64>(d, tile & ~(std::uint64_t{3} << 62), tile, false); break;
    default: mbarrier_wait(&barrier[0], 2);
  }
}

}  // namespace epitaxy::emulated
