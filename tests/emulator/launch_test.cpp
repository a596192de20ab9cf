// The launch gate, the limits of device profiles, the emulated device's memory, and the helpers of kernels/device.
#define EPITAXY_EMULATED 1

#include <cmath>
#include <random>
#include <vector>

#include "emulation.h"
#include "kernels/device/block.cuh"
#include "kernels/device/vector.cuh"

namespace epitaxy::emulated {
namespace {

__global__ void count_kernel(int* count, std::int64_t step, double) {
  EPITAXY_DYNAMIC_SHARED(float, s);
  if (blockDim.x == 1) s[0] = 0.0f;
  atomicAdd(count, static_cast<int>(step));
}

template <int kBytes>
__global__ void large_static_kernel() {
  EPITAXY_SHARED(char, s, [kBytes]);
  s[threadIdx.x] = 0;
}

/// The error of a launch under a profile, if any.
std::string launch_error(const DeviceProfile& profile, dim3 grid, dim3 block, std::size_t shared) {
  int count = 0;
  const Stream one{nullptr, &profile};
  return error_of([&] { launch(one, "count", count_kernel, grid, block, shared, &count, 1, 0.5f); });
}

TEST(Launch, ArgumentsAreConvertedAndEmptyGridsLaunchNothing) {
  int count = 0;
  launch(stream(), "count", count_kernel, 3, 2, 4, &count, 5, 1);
  EXPECT_EQ(count, 30);
  for (const dim3 empty : {dim3(0), dim3(4, 0), dim3(4, 4, 0)}) launch(stream(), "count", count_kernel, empty, 2, 4, &count, 5, 1);
  EXPECT_EQ(count, 30);
}

TEST(Launch, LimitsOfProfiles) {
  for (const DeviceProfile& profile : {kProfile80, kProfile90, kProfile120}) {
    const std::size_t most = profile.shared_per_block_optin;
    EXPECT_EQ(launch_error(profile, 1, 1, most), "");
    expect_contains(launch_error(profile, 1, 1, most + 1),
                    {"kernel count cannot be launched: at most " + std::to_string(most) + " bytes of shared memory",
                     "grid 1x1x1, block 1x1x1", "profile sm_" + std::to_string(profile.compute)});
    expect_contains(launch_error(profile, 1, dim3(32, 33), 4), {"1056 threads in a block, at most 1024"});
    expect_contains(launch_error(profile, 1, dim3(1, 1, 65), 4), {"blockDim.z is at most 64"});
    expect_contains(launch_error(profile, 1, 0, 4), {"an empty block"});
    expect_contains(launch_error(profile, dim3(1, 65536), 1, 4), {"gridDim.y and gridDim.z are at most 65535"});
    expect_contains(launch_error(profile, dim3(1, 1, 65536), 1, 4), {"gridDim.y and gridDim.z are at most 65535"});
    expect_contains(launch_error(profile, 0x80000000u, 1, 4), {"gridDim.x is at most 2147483647"});
  }
  EXPECT_EQ(launch_error(kProfile80, 65536, 1, 4), "");
  if (kThreadSanitizer) return;  // 1024 TSan fibers take seconds
  EXPECT_EQ(launch_error(kProfile80, 1, 1024, 4), "");
}

TEST(Launch, StaticSharedMemoryIsLimited) {
  EXPECT_EQ(error_of([] { launch(stream(), "large", large_static_kernel<48 * 1024>, 1, 32, 0); }), "");
  expect_contains(error_of([] { launch(stream(), "large", large_static_kernel<48 * 1024 + 16>, 1, 32, 0); }),
                  {"large: static shared variable s at launch_test.cpp:", "49168 bytes of static"});
  const Stream small{nullptr, &kProfile120};
  expect_contains(error_of([&] { launch(small, "large", large_static_kernel<1024>, 1, 32, 99 * 1024); }),
                  {"1024 bytes of static and 101376 of dynamic"});
}

TEST(Launch, TheBackendsProfileIsTheDefault) {
  EXPECT_EQ(stream().profile->compute, 90);
  set_emulated_profile(kProfile120);
  EXPECT_EQ(stream().profile->compute, 120);
  int count = 0;
  expect_contains(error_of([&] { launch({}, "count", count_kernel, 1, 1, 100 * 1024, &count, 1, 1); }), {"profile sm_120"});
  set_emulated_profile(kProfile90);
  EXPECT_EQ(error_of([&] { launch({}, "count", count_kernel, 1, 1, 100 * 1024, &count, 1, 1); }), "");
}

TEST(Launch, OptionsAreReadAndDescribed) {
  EXPECT_EQ(describe(parse_emulator_options("", "")), describe(kForward));
  EXPECT_EQ(describe(parse_emulator_options("forward", "eager")), "order forward, async eager");
  EXPECT_EQ(describe(parse_emulator_options("reverse", "")), "order reverse, async lazy");
  EXPECT_EQ(describe(parse_emulator_options("random:42", "")), "order random:42, async random");
  EXPECT_EQ(describe(parse_emulator_options("random:42", "lazy")), "order random:42, async lazy");
  EXPECT_NE(parse_emulator_options("random", "").seed, parse_emulator_options("random", "").seed);
  for (const char* wrong : {"backward", "random:", "random:x", "randomly"})
    expect_contains(error_of([&] { parse_emulator_options(wrong, ""); }), {std::string("EPITAXY_EMULATOR_ORDER=") + wrong});
  expect_contains(error_of([] { parse_emulator_options("", "sometimes"); }),
                  {"EPITAXY_EMULATOR_ASYNC=sometimes: one of eager, lazy, random"});
  EXPECT_EQ(describe(kForward), "order forward, async lazy");
  EXPECT_EQ(describe(EmulatorOptions{EmulatorOrder::reverse, AsyncMode::eager, 1}), "order reverse, async eager");
  EXPECT_EQ(describe(random_order(42)), "order random:42, async random");
}

TEST(EmulatedBackend, FreshMemoryIsNanAndAligned) {
  auto& backend = emulated_backend();
  EXPECT_EQ(backend.device(), (Device{DeviceKind::emulated, 0}));
  auto* memory = static_cast<float*>(backend.allocate(1000));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 256, 0u);
  for (int i = 0; i < 250; ++i) EXPECT_TRUE(std::isnan(memory[i]));
  backend.zero(memory, 1000, backend.stream());
  EXPECT_EQ(memory[249], 0.0f);
  const std::vector<float> x{1, 2, 3};
  backend.copy(memory + 1, x.data(), 12, backend.stream());
  EXPECT_EQ(memory[3], 3.0f);
  backend.free(memory);
  backend.free(nullptr);
  void* empty = backend.allocate(0);
  EXPECT_NE(empty, nullptr);
  backend.free(empty);
  EXPECT_EQ(error_of([&] { backend.synchronize({}); }), "");
  EXPECT_GT(backend.free_memory(), 1u << 20);
}

TEST(EmulatedBackend, DamageFoundAtFreeIsReported) {
  if (kAddressSanitizer) GTEST_SKIP() << "ASan stops such a write at once: PlantedBugs.GlobalWriteOutOfBounds";
  auto& backend = emulated_backend();
  auto* memory = static_cast<volatile char*>(backend.allocate(10));
  memory[-3] = 0;
  backend.free(const_cast<char*>(memory));
  EXPECT_EQ(error_of([&] { backend.synchronize({}); }), "out of bounds write 3 bytes before an allocation of 10 bytes");
  EXPECT_EQ(error_of([&] { backend.synchronize({}); }), "");  // said once
  int other = 0;
  backend.free(&other);
  EXPECT_EQ(error_of([&] { backend.synchronize({}); }), "free of memory that was not allocated on the emulated device");
}

template <int kThreads>
__global__ void block_kernel(float* y, const float* x) {
  const float v = x[threadIdx.x];
  float* const mine = y + threadIdx.x * 6;
  mine[0] = block_sum<kThreads>(v);
  mine[1] = block_max<kThreads>(v, -INFINITY);
  mine[2] = block_min<kThreads>(v, INFINITY);
  mine[3] = warp_sum(v);
  mine[4] = warp_max<8>(v);
  mine[5] = static_cast<float>(block_sum<kThreads>(static_cast<int>(threadIdx.x)));
}

template <int kThreads>
void check_block() {
  std::mt19937 random(kThreads);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> x(kThreads), y(kThreads * 6);
  for (float& v : x) v = uniform(random);
  launch(stream(), "block", block_kernel<kThreads>, 1, kThreads, 0, y.data(), x.data());
  double sum = 0;
  for (const float v : x) sum += v;
  for (int t = 0; t < kThreads; ++t) {
    EXPECT_NEAR(y[t * 6], sum, 1e-5 * kThreads);
    EXPECT_EQ(y[t * 6], y[0]);
    EXPECT_EQ(y[t * 6 + 1], *std::max_element(x.begin(), x.end()));
    EXPECT_EQ(y[t * 6 + 2], *std::min_element(x.begin(), x.end()));
    const auto warp = x.begin() + t / 32 * 32, eight = x.begin() + t / 8 * 8;
    double warp_total = 0;
    for (auto at = warp; at != warp + 32; ++at) warp_total += *at;
    EXPECT_NEAR(y[t * 6 + 3], warp_total, 1e-5);
    EXPECT_EQ(y[t * 6 + 4], *std::max_element(eight, eight + 8));
    EXPECT_EQ(y[t * 6 + 5], static_cast<float>(kThreads * (kThreads - 1) / 2));
  }
}

TEST(DeviceHelpers, WarpAndBlockReductions) {
  in_every_order([] {
    check_block<32>();
    check_block<96>();
    check_block<256>();
    if (!kThreadSanitizer) check_block<1024>();
  });
}

__global__ void nan_kernel(float* y, int where) {
  const float v = static_cast<int>(threadIdx.x) == where ? NAN : 1.0f;
  y[threadIdx.x] = block_max<64>(v, -INFINITY);
}

TEST(DeviceHelpers, MaximumDoesNotHideNan) {
  for (const int where : {0, 17, 63}) {
    std::vector<float> y(64);
    launch(stream(), "nan", nan_kernel, 1, 64, 0, y.data(), where);
    for (const float v : y) EXPECT_TRUE(std::isnan(v));
  }
}

template <class T, int N>
__global__ void vector_kernel(T* y, const T* x, int offset) {
  float values[N];
  load_floats(values, x + threadIdx.x * N + offset);
  for (float& v : values) v *= 2.0f;
  store_floats(y + threadIdx.x * N, values);
}

template <class T, int N>
void check_vectors() {
  auto& backend = emulated_backend();
  auto* x = static_cast<T*>(backend.allocate(32 * N * sizeof(T)));
  auto* y = static_cast<T*>(backend.allocate(32 * N * sizeof(T)));
  for (int i = 0; i < 32 * N; ++i) x[i] = round<T>(static_cast<float>(i));
  launch(stream(), "vector", vector_kernel<T, N>, 1, 32, 0, y, x, 0);
  for (int i = 0; i < 32 * N; ++i) EXPECT_EQ(to_float(y[i]), 2.0f * to_float(x[i]));
  expect_contains(error_of([&] { launch(stream(), "vector", vector_kernel<T, N>, 1, 1, 0, y, x, 1); }),
                  {"vector: misaligned load_vector at vector.cuh:"});
  EXPECT_TRUE((is_aligned < T, N < kVectorWidth<T> ? N : kVectorWidth < T >> (x)));
  EXPECT_FALSE((is_aligned<T, 2>(x + 1)));
  backend.free(x);
  backend.free(y);
}

TEST(DeviceHelpers, VectorAccess) {
  check_vectors<float, 2>();
  check_vectors<float, 4>();
  check_vectors<float, 8>();
  check_vectors<BFloat16, 8>();
  check_vectors<Half, 4>();
  check_vectors<Half, 16>();
}

}  // namespace
}  // namespace epitaxy::emulated
