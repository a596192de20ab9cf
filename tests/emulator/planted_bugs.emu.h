// Kernels with one bug each, and the same kernels without it: kFixed. Each run_* returns whether the numbers are right.
#pragma once

#define EPITAXY_EMULATED 1

#include <numeric>
#include <vector>

#include "emulation.h"
#include "kernels/device/block.cuh"
#include "kernels/device/vector.cuh"

namespace epitaxy::emulated {

inline constexpr int kThreads = 64;

inline std::vector<float> counting(int n) {
  std::vector<float> x(static_cast<std::size_t>(n));
  std::iota(x.begin(), x.end(), 1.0f);
  return x;
}

// ---- order of threads ----

template <bool kFixed>
__global__ void neighbour_kernel(float* y, const float* x) {
  EPITAXY_SHARED(float, s, [kThreads]);
  const unsigned t = threadIdx.x;
  s[t] = x[t];
  if constexpr (kFixed) __syncthreads();
  y[t] = t > 0 ? s[t - 1] : 0.0f;
}

template <bool kFixed>
bool run_neighbour() {
  const auto x = counting(kThreads);
  std::vector<float> y(kThreads);
  launch(stream(), "neighbour", neighbour_kernel<kFixed>, 1, kThreads, 0, y.data(), x.data());
  for (int i = 0; i < kThreads; ++i)
    if (!(y[i] == static_cast<float>(i))) return false;
  return true;
}

template <bool kFixed>
__global__ void warp_sum_kernel(float* y, const float* x) {
  EPITAXY_SHARED(float, s, [64]);
  const unsigned t = threadIdx.x;
  s[t] = x[t];
  s[t + 32] = 0.0f;
  __syncwarp();
  for (unsigned distance = 16; distance > 0; distance /= 2) {
    if constexpr (kFixed) {
      const float other = s[t + distance];
      __syncwarp();
      s[t] += other;
      __syncwarp();
    } else {
      s[t] += s[t + distance];
    }
  }
  if (t == 0) y[0] = s[0];
}

template <bool kFixed>
bool run_warp_sum() {
  const auto x = counting(32);
  float y = 0;
  launch(stream(), "warp_sum", warp_sum_kernel<kFixed>, 1, 32, 0, &y, x.data());
  return y == 528.0f;
}

// ---- updates that must be atomic ----

template <bool kFixed>
__global__ void shared_count_kernel(int* y) {
  EPITAXY_SHARED(int, count, [1]);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  if constexpr (kFixed)
    atomicAdd(&count[0], 1);
  else
    count[0] += 1;
  __syncthreads();
  if (threadIdx.x == 0) y[0] = count[0];
}

template <bool kFixed>
bool run_shared_count() {
  int y = 0;
  launch(stream(), "shared_count", shared_count_kernel<kFixed>, 1, kThreads, 0, &y);
  return y == kThreads;
}

template <bool kFixed>
__global__ void global_count_kernel(int* y) {
  if (threadIdx.x != 0) return;
  if constexpr (kFixed)
    atomicAdd(y, 1);
  else
    *y += 1;
}

template <bool kFixed>
bool run_global_count() {
  int y = 0;
  launch(stream(), "global_count", global_count_kernel<kFixed>, 4, 32, 0, &y);
  return y == 4;
}

// The last block to finish adds up what all have left: right only with a fence before the ticket is drawn.
template <bool kFixed>
__global__ void last_block_kernel(float* y, double* partial, unsigned* tickets) {
  EPITAXY_SHARED(bool, last, [1]);
  const float sum = block_sum<kThreads>(1.0f);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    if constexpr (kFixed) __threadfence();
    last[0] = atomicAdd(tickets, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last[0]) return;
  if (threadIdx.x == 0) {
    double total = 0;
    for (unsigned i = 0; i < gridDim.x; ++i) total += partial[i];
    y[0] = static_cast<float>(total);
  }
}

template <bool kFixed>
bool run_last_block() {
  float y = 0;
  double partial[4];  // 8 bytes each: TSan remembers four accesses to 8 bytes, and a neighbour's could push out the one that races
  unsigned tickets = 0;
  launch(stream(), "last_block", last_block_kernel<kFixed>, 4, kThreads, 0, &y, partial, &tickets);
  return y == 4.0f * kThreads;
}

// ---- meetings that cannot happen ----

template <bool kFixed>
__global__ void divergent_barrier_kernel(int* y) {
  if constexpr (kFixed) {
    __syncthreads();
  } else if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1;
}

template <bool kFixed>
__global__ void early_exit_kernel(int* y) {
  if (!kFixed && threadIdx.x == 5) return;
  __syncthreads();
  y[threadIdx.x] = 1;
}

template <bool kFixed>
__global__ void mismatched_loops_kernel(int* y) {
  const unsigned rounds = kFixed ? 3 : 3 + (threadIdx.x == 7);
  for (unsigned i = 0; i < rounds; ++i) __syncthreads();
  y[threadIdx.x] = 1;
}

template <bool kFixed>
__global__ void absent_lane_kernel(int* y) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  y[threadIdx.x] = 1;
  if (lane < 16) y[threadIdx.x] += __shfl_sync(0x0000ffffu, lane, kFixed ? 15 - lane : lane + 16) * 0;
}

template <bool kFixed>
__global__ void full_mask_in_branch_kernel(int* y) {
  y[threadIdx.x] = 1;
  if (threadIdx.x % 32 < 16) y[threadIdx.x] = __any_sync(kFixed ? 0x0000ffffu : 0xffffffffu, 1);
}

template <bool kFixed>
__global__ void mask_without_caller_kernel(int* y) {
  y[threadIdx.x] = 1;
  __syncwarp(kFixed ? 0xffffffffu : 0xfffffff0u);
}

template <bool kFixed>
__global__ void different_functions_kernel(int* y) {
  y[threadIdx.x] = kFixed || threadIdx.x % 32 < 16 ? __any_sync(0xffffffffu, 1) : __all_sync(0xffffffffu, 1);
}

/// Runs a kernel that writes 1 for every thread.
inline bool run_ones(const char* name, void (*kernel)(int*)) {
  std::vector<int> y(kThreads);
  launch(stream(), name, kernel, 1, kThreads, 0, y.data());
  return y == std::vector<int>(kThreads, 1);
}

// ---- memory ----

// Reads one element too far, and uses it only if it holds what it never holds: no value shows the bug.
template <bool kFixed>
__global__ void read_past_kernel(float* y, const float* x, int count) {
  const int at = static_cast<int>(threadIdx.x) + (kFixed ? 0 : 1);
  y[threadIdx.x] = x[at] == -12345.0f && at < count ? 2.0f : 1.0f;
}

template <bool kFixed>
bool run_global_read() {
  auto& backend = emulated_backend();
  auto* x = static_cast<float*>(backend.allocate(kThreads * 4));
  std::vector<float> y(kThreads);
  launch(stream(), "global_read", read_past_kernel<kFixed>, 1, kThreads, 0, y.data(), x, kThreads);
  backend.free(x);
  return y == std::vector<float>(kThreads, 1.0f);
}

template <bool kFixed>
__global__ void write_past_kernel(float* y, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < count + (kFixed ? 0 : 1); i += static_cast<int>(blockDim.x)) y[i] = 1.0f;
}

template <bool kFixed>
bool run_global_write() {
  auto& backend = emulated_backend();
  auto* y = static_cast<float*>(backend.allocate(100 * 4));
  const std::string error = error_of([&] { launch(stream(), "global_write", write_past_kernel<kFixed>, 1, kThreads, 0, y, 100); });
  const bool right = std::vector<float>(y, y + 100) == std::vector<float>(100, 1.0f);
  backend.free(y);
  if (!error.empty()) fail(error);
  return right;
}

template <bool kFixed>
__global__ void dynamic_read_kernel(float* y) {
  EPITAXY_DYNAMIC_SHARED(float, s);
  const unsigned t = threadIdx.x;
  s[t] = 1.0f;
  __syncthreads();
  const float other = s[kFixed ? t : t + 1];
  y[t] = other == -12345.0f ? 2.0f : 1.0f;
}

template <bool kFixed>
bool run_dynamic_read() {
  std::vector<float> y(kThreads);
  launch(stream(), "dynamic_read", dynamic_read_kernel<kFixed>, 1, kThreads, kThreads * 4, y.data());
  return y == std::vector<float>(kThreads, 1.0f);
}

template <bool kFixed>
__global__ void static_write_kernel(float* y) {
  EPITAXY_SHARED(float, s, [kThreads]);
  const unsigned t = threadIdx.x;
  float* row = s;
  row[kFixed ? t : t + 1] = 1.0f;
  __syncthreads();
  y[t] = row[kFixed || t > 0 ? t : 1];
}

template <bool kFixed>
bool run_static_write() {
  std::vector<float> y(kThreads);
  launch(stream(), "static_write", static_write_kernel<kFixed>, 1, kThreads, 0, y.data());
  return y == std::vector<float>(kThreads, 1.0f);
}

template <bool kFixed>
__global__ void uninitialised_kernel(float* y) {
  EPITAXY_SHARED(float, total, [1]);
  if (kFixed && threadIdx.x == 0) total[0] = 0.0f;
  __syncthreads();
  atomicAdd(&total[0], 1.0f);
  __syncthreads();
  y[threadIdx.x] = total[0];
}

template <bool kFixed>
bool run_uninitialised() {
  std::vector<float> y(kThreads);
  launch(stream(), "uninitialised", uninitialised_kernel<kFixed>, 1, kThreads, 0, y.data());
  return y == std::vector<float>(kThreads, kThreads);
}

// ---- undefined behaviour that a CPU forgives ----

template <bool kFixed>
__global__ void misaligned_kernel(float* y, const float* x) {
  const float4 four = *reinterpret_cast<const float4*>(x + (kFixed ? 4 : 1));
  y[threadIdx.x] = four.x > 0.0f ? 1.0f : 2.0f;
}

template <bool kFixed>
bool run_misaligned() {
  auto& backend = emulated_backend();
  auto* x = static_cast<float*>(backend.allocate(64));
  std::fill(x, x + 16, 1.0f);
  std::vector<float> y(kThreads);
  launch(stream(), "misaligned", misaligned_kernel<kFixed>, 1, kThreads, 0, y.data(), x);
  backend.free(x);
  return y == std::vector<float>(kThreads, 1.0f);
}

template <bool kFixed>
__global__ void shift_kernel(unsigned* y, unsigned by) {
  y[threadIdx.x] = (1u << (kFixed ? by % 32 : by)) != 0 ? 1 : 2;
}

template <bool kFixed>
bool run_shift() {
  std::vector<unsigned> y(kThreads);
  launch(stream(), "shift", shift_kernel<kFixed>, 1, kThreads, 0, y.data(), 33u);
  return y == std::vector<unsigned>(kThreads, 1u);
}

// ---- asynchronous copies ----

// A two-stage ring over `steps` tiles; the bug waits for all but one group where none may be left under way.
template <bool kFixed>
__global__ void ring_kernel(float* y, const float* x, int steps) {
  EPITAXY_SHARED(float, stage, [2][kThreads]);
  const unsigned t = threadIdx.x;
  float total = 0.0f;
  cp_async_4(&stage[0][t], x + t, true);
  cp_async_commit();
  for (int step = 0; step < steps; ++step) {
    if (step + 1 < steps) cp_async_4(&stage[(step + 1) % 2][t], x + (step + 1) * kThreads + t, true);
    cp_async_commit();
    cp_async_wait<kFixed ? 1 : 2>();
    __syncthreads();
    total += stage[step % 2][kThreads - 1 - t];
    __syncthreads();
  }
  y[t] = total;
}

template <bool kFixed>
bool run_ring() {
  constexpr int kSteps = 5;
  const auto x = counting(kThreads * kSteps);
  std::vector<float> y(kThreads);
  launch(stream(), "ring", ring_kernel<kFixed>, 1, kThreads, 0, y.data(), x.data(), kSteps);
  for (int i = 0; i < kThreads; ++i) {
    float total = 0.0f;
    for (int step = 0; step < kSteps; ++step) total += x[step * kThreads + kThreads - 1 - i];
    if (!(y[i] == total)) return false;
  }
  return true;
}

// The copies have landed for the thread that issued them only: others need the barrier.
template <bool kFixed>
__global__ void async_without_barrier_kernel(float* y, const float* x) {
  EPITAXY_SHARED(float, s, [kThreads]);
  const unsigned t = threadIdx.x;
  cp_async_4(&s[t], x + t, true);
  cp_async_commit();
  cp_async_wait<0>();
  if constexpr (kFixed) __syncthreads();
  y[t] = t > 0 ? s[t - 1] : 0.0f;
}

template <bool kFixed>
bool run_async_without_barrier() {
  const auto x = counting(kThreads);
  std::vector<float> y(kThreads);
  launch(stream(), "async_without_barrier", async_without_barrier_kernel<kFixed>, 1, kThreads, 0, y.data(), x.data());
  for (int i = 0; i < kThreads; ++i)
    if (!(y[i] == static_cast<float>(i))) return false;
  return true;
}

}  // namespace epitaxy::emulated
