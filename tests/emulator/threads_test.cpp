// Positions, barriers, warp functions and atomics: values, in every order.
#define EPITAXY_EMULATED 1

#include <algorithm>
#include <numeric>
#include <vector>

#include "emulation.h"
#include "kernels/device/world.cuh"

namespace epitaxy::emulated {
namespace {

__global__ void position_kernel(int* y) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  y[block * (blockDim.x * blockDim.y * blockDim.z) + thread] += static_cast<int>(block * 1000 + thread);
}

TEST(Threads, EveryThreadOfEveryBlockRunsOnceAtItsPosition) {
  in_every_order([] {
    std::vector<int> y(2 * 3 * 4 * 5 * 6 * 7);
    launch(stream(), "position", position_kernel, dim3(2, 3, 4), dim3(5, 6, 7), 0, y.data());
    for (int block = 0; block < 24; ++block)
      for (int thread = 0; thread < 210; ++thread) ASSERT_EQ(y[block * 210 + thread], block * 1000 + thread);
  });
}

__global__ void barrier_kernel(int* y) {
  EPITAXY_SHARED(int, s, [96]);
  const int t = static_cast<int>(threadIdx.x);
  s[t] = t;
  for (int round = 0; round < 5; ++round) {
    __syncthreads();
    const int next = s[(t + 1) % 96];
    __syncthreads();
    s[t] = next;
  }
  y[t * 4] = s[t];
  y[t * 4 + 1] = __syncthreads_count(t % 3 == 0);
  y[t * 4 + 2] = 10 * __syncthreads_and(t < 96) + __syncthreads_and(t < 95);
  y[t * 4 + 3] = 10 * __syncthreads_or(t == 95) + __syncthreads_or(t == 96);
}

TEST(Threads, Barriers) {
  in_every_order([] {
    std::vector<int> y(96 * 4);
    launch(stream(), "barrier", barrier_kernel, 1, 96, 0, y.data());
    for (int t = 0; t < 96; ++t) {
      ASSERT_EQ(y[t * 4], (t + 5) % 96);
      ASSERT_EQ(y[t * 4 + 1], 32);
      ASSERT_EQ(y[t * 4 + 2], 10);
      ASSERT_EQ(y[t * 4 + 3], 10);
    }
  });
}

template <class T>
__global__ void shuffle_kernel(T* y, const T* x) {
  const unsigned t = threadIdx.x;
  const T v = x[t];
  T* const mine = y + t * 8;
  mine[0] = __shfl_sync(0xffffffffu, v, 3);
  mine[1] = __shfl_sync(0xffffffffu, v, 37);    // modulo the width
  mine[2] = __shfl_sync(0xffffffffu, v, 1, 8);  // lane 1 of each segment of 8
  mine[3] = __shfl_up_sync(0xffffffffu, v, 2);
  mine[4] = __shfl_up_sync(0xffffffffu, v, 3, 8);
  mine[5] = __shfl_down_sync(0xffffffffu, v, 5);
  mine[6] = __shfl_down_sync(0xffffffffu, v, 1, 16);
  mine[7] = __shfl_xor_sync(0xffffffffu, v, 9);
}

template <class T>
void check_shuffles() {
  std::vector<T> x(64), y(64 * 8);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(static_cast<double>(i) * 1.5 - 20.0);
  launch(stream(), "shuffle", shuffle_kernel<T>, 1, 64, 0, y.data(), x.data());
  for (int t = 0; t < 64; ++t) {
    const int base = t / 32 * 32, lane = t % 32;
    const std::vector<int> sources{3,
                                   5,
                                   lane / 8 * 8 + 1,
                                   lane < 2 ? lane : lane - 2,
                                   lane % 8 < 3 ? lane : lane - 3,
                                   lane + 5 > 31 ? lane : lane + 5,
                                   lane % 16 == 15 ? lane : lane + 1,
                                   lane ^ 9};
    for (int i = 0; i < 8; ++i) ASSERT_EQ(y[t * 8 + i], x[base + sources[i]]) << "thread " << t << " shuffle " << i;
  }
}

TEST(Threads, Shuffles) {
  in_every_order([] {
    check_shuffles<int>();
    check_shuffles<unsigned>();
    check_shuffles<float>();
    check_shuffles<double>();
    check_shuffles<long long>();
  });
}

__global__ void vote_kernel(unsigned* y) {
  const unsigned t = threadIdx.x;
  unsigned* const mine = y + t * 10;
  mine[0] = __ballot_sync(0xffffffffu, t % 5 == 0);
  mine[1] = static_cast<unsigned>(__any_sync(0xffffffffu, t == 31) * 2 + __any_sync(0xffffffffu, 0));
  mine[2] = static_cast<unsigned>(__all_sync(0xffffffffu, t < 32) * 2 + __all_sync(0xffffffffu, t < 31));
  mine[3] = __match_any_sync(0xffffffffu, t % 4);
  mine[4] = __reduce_add_sync(0xffffffffu, t);
  mine[5] = __reduce_max_sync(0xffffffffu, t ^ 5u) * 100 + __reduce_min_sync(0xffffffffu, t + 7);
  mine[6] = static_cast<unsigned>(__reduce_min_sync(0xffffffffu, static_cast<int>(t) - 9) * 1000 +
                                  __reduce_max_sync(0xffffffffu, 3 - static_cast<int>(t)));
  mine[7] = __reduce_and_sync(0xffffffffu, t | 0xf0u) + __reduce_or_sync(0xffffffffu, 1u << t) / 2;
  mine[8] = __reduce_xor_sync(0xffffffffu, t * t);
  // Two halves of the warp at once, each with its own mask.
  const unsigned half = t < 16 ? 0x0000ffffu : 0xffff0000u;
  mine[9] = __reduce_add_sync(half, t) + __shfl_sync(half, t, t < 16 ? 4 : 20);
  __syncwarp(half);
}

TEST(Threads, VotesAndReductions) {
  in_every_order([] {
    std::vector<unsigned> y(32 * 10);
    launch(stream(), "vote", vote_kernel, 1, 32, 0, y.data());
    unsigned fifths = 0, square_xor = 0;
    for (unsigned t = 0; t < 32; ++t) {
      fifths |= (t % 5 == 0 ? 1u : 0u) << t;
      square_xor ^= t * t;
    }
    for (unsigned t = 0; t < 32; ++t) {
      const unsigned* mine = &y[t * 10];
      ASSERT_EQ(mine[0], fifths);
      ASSERT_EQ(mine[1], 2u);
      ASSERT_EQ(mine[2], 2u);
      ASSERT_EQ(mine[3], 0x11111111u << (t % 4));
      ASSERT_EQ(mine[4], 496u);
      ASSERT_EQ(mine[5], 31u * 100 + 7);
      ASSERT_EQ(static_cast<int>(mine[6]), -9 * 1000 + 3);
      ASSERT_EQ(mine[7], 0xf0u + 0x7fffffffu);
      ASSERT_EQ(mine[8], square_xor);
      ASSERT_EQ(mine[9], t < 16 ? 120u + 4 : 376u + 20);
    }
  });
}

struct Counters {
  int i = 0;
  unsigned u = 0;
  unsigned long long ull = 0;
  float f = 0;
  double d = 0;
  int highest = -1000, lowest = 1000, exchanged = -1, compared = 0;
  unsigned bits = 0, kept = ~0u;
  int seen[128] = {};
};

__global__ void atomic_kernel(Counters* c) {
  const int t = static_cast<int>(threadIdx.x + blockIdx.x * blockDim.x);
  const int ticket = atomicAdd(&c->i, 1);
  c->seen[ticket] += 1;  // every ticket is given out once
  atomicAdd(&c->u, 3u);
  atomicAdd(&c->ull, 1ull << 33);
  atomicAdd(&c->f, 0.5f);
  atomicAdd(&c->d, 0.25);
  atomicMax(&c->highest, t);
  atomicMin(&c->lowest, -t);
  atomicExch(&c->exchanged, t);
  atomicCAS(&c->compared, 0, t + 1);
  atomicOr(&c->bits, 1u << (t % 32));
  atomicAnd(&c->kept, ~(1u << (t % 16)));
}

TEST(Threads, Atomics) {
  in_every_order([] {
    Counters c;
    launch(stream(), "atomic", atomic_kernel, 2, 64, 0, &c);
    EXPECT_EQ(c.i, 128);
    EXPECT_EQ(c.u, 384u);
    EXPECT_EQ(c.ull, 128ull << 33);
    EXPECT_EQ(c.f, 64.0f);
    EXPECT_EQ(c.d, 32.0);
    EXPECT_EQ(c.highest, 127);
    EXPECT_EQ(c.lowest, -127);
    EXPECT_GE(c.exchanged, 0);
    EXPECT_GE(c.compared, 1);
    EXPECT_EQ(c.bits, ~0u);
    EXPECT_EQ(c.kept, 0xffff0000u);
    EXPECT_TRUE(std::all_of(std::begin(c.seen), std::end(c.seen), [](int n) { return n == 1; }));
  });
}

template <class Function>
__global__ void apply_kernel(float* y, Function f) {
  const unsigned t = threadIdx.x + blockIdx.x * blockDim.x;
  y[t] = f(static_cast<float>(t));
}

TEST(Threads, LambdasAsArguments) {
  std::vector<float> y(64);
  const float scale = 3.0f;
  const auto f = [=] __device__(float x) { return scale * x + 1.0f; };
  launch(stream(), "apply", apply_kernel<decltype(f)>, 2, 32, 0, y.data(), f);
  for (int t = 0; t < 64; ++t) EXPECT_EQ(y[t], 3.0f * static_cast<float>(t) + 1.0f);
}

// Static variables of two instances of one template, and one of a function called twice, are distinct where CUDA's are.
template <int kSize>
__device__ float* scratch() {
  EPITAXY_SHARED(float, memory, [kSize]);
  return memory;
}

__global__ void shared_kernel(int* y) {
  EPITAXY_SHARED(float, tile, [4][5]);
  EPITAXY_DYNAMIC_SHARED(float, dynamic);
  EPITAXY_DYNAMIC_SHARED(float, same);
  y[0] = scratch<8>() == scratch<8>();
  y[1] = scratch<8>() != scratch<9>();
  y[2] = sizeof(tile) == 80;
  y[3] = reinterpret_cast<std::uintptr_t>(dynamic) % 128 == 0 && reinterpret_cast<std::uintptr_t>(&tile) % 16 == 0;
  y[4] = dynamic == same;
  y[5] = isnan(dynamic[0]) && isnan(dynamic[9]) && isnan(tile[3][4]) && isnan(scratch<9>()[8]);  // in every block anew
  dynamic[0] = dynamic[9] = tile[3][4] = scratch<9>()[8] = 0.0f;
}

TEST(Threads, SharedMemory) {
  std::vector<int> y(6);
  launch(stream(), "shared", shared_kernel, 1, 1, 40, y.data());
  EXPECT_EQ(y, std::vector<int>(6, 1));
  for (int i = 0; i < 3; ++i) {
    launch(stream(), "shared", shared_kernel, 1, 1, 40, y.data());
    EXPECT_EQ(y[5], 1);
  }
}

__global__ void trap_kernel(int limit) {
  if (static_cast<int>(threadIdx.x) >= limit) __trap();
}

__global__ void throwing_kernel() {
  __syncthreads();
  if (threadIdx.x == 3) reject("no such thing");
  __syncthreads();
}

TEST(Threads, FailuresNameTheirPlaceAndLeaveTheEmulatorUsable) {
  in_every_order([] {
    expect_contains(error_of([] { launch(stream(), "trap", trap_kernel, 2, 8, 0, 7); }),
                    {"trap: __trap at threads_test.cpp:", "in thread (7,0,0) of block ("});
    EXPECT_EQ(error_of([] { launch(stream(), "throwing", throwing_kernel, 1, 64, 0); }), "no such thing");
    EXPECT_EQ(error_of([] { launch(stream(), "trap", trap_kernel, 2, 8, 0, 8); }), "");
  });
}

__global__ void lane_order_kernel(int* order, int* count) {
  order[atomicAdd(count, 1)] = static_cast<int>(threadIdx.x + blockIdx.x * blockDim.x);
}

std::vector<int> order_of_threads(const EmulatorOptions& options) {
  const Setting setting(options);
  std::vector<int> order(128);
  int count = 0;
  launch(stream(), "lane_order", lane_order_kernel, 2, 64, 0, order.data(), &count);
  return order;
}

TEST(Threads, OrdersAreWhatTheySay) {
  std::vector<int> natural(128);
  std::iota(natural.begin(), natural.end(), 0);
  EXPECT_EQ(order_of_threads(kForward), natural);
  const auto random = order_of_threads(random_order(7));
  EXPECT_EQ(random, order_of_threads(random_order(7)));  // a seed repeats
  EXPECT_NE(random, order_of_threads(random_order(8)));
  auto sorted = random;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, natural);
  std::reverse(natural.begin(), natural.end());
  EXPECT_EQ(order_of_threads(kReverse), natural);
}

}  // namespace
}  // namespace epitaxy::emulated
