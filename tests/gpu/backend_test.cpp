// The CUDA backend: a clear error where there is no card, memory and streams where there is one.
#include "gpu/backend.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "epitaxy/error.h"
#include "gpu/check.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr Device kCard{DeviceKind::cuda, 0};

/// GTEST_SKIP where there is no card; EPITAXY_REQUIRE_GPU=1 makes that a failure.
#define NEEDS_GPU()                                              \
  if (const std::string why = why_absent(kCard); !why.empty()) { \
    skip_device(kCard, why);                                     \
    GTEST_SKIP() << why;                                         \
  }

TEST(CudaBackend, AbsentDeviceIsOneClearUsageError) {
  const int count = cuda_device_count();
  ASSERT_GE(count, 0);
  for (const int index : {count, count + 7, -1}) {
    try {
      cuda_backend(index);
      ADD_FAILURE() << "cuda:" << index << " was accepted on a machine with " << count << " devices";
    } catch (const Error& error) {
      const std::string what = error.what();
      EXPECT_EQ(error.fault(), Fault::usage);
      EXPECT_EQ(what.find('\n'), std::string::npos);
      EXPECT_NE(what.find(count == 0 ? "no CUDA device: " : "this machine has"), std::string::npos) << what;
    }
  }
}

TEST(CudaBackend, FailedCallNamesCallPlaceAndReason) {
  EXPECT_NO_THROW(check_call(cudaSuccess, "cudaThis()", "a/b.cpp", 7));
  EXPECT_NO_THROW(check_call(CUBLAS_STATUS_SUCCESS, "cublasThat()", "b.cpp", 7));
  const auto message = [](auto status) {
    try {
      check_call(status, "cudaThis(x)", "/somewhere/b.cpp", 7);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::failure);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(cudaErrorInvalidValue), "CUDA call cudaThis(x) failed at b.cpp:7: invalid argument (cudaErrorInvalidValue)");
  EXPECT_NE(message(CUBLAS_STATUS_NOT_SUPPORTED).find("CUBLAS_STATUS_NOT_SUPPORTED"), std::string::npos);
}

TEST(CudaBackend, MemoryTravels) {
  NEEDS_GPU();
  DeviceBackend& card = cuda_backend(0);
  const Stream stream = card.stream();
  std::vector<int> sent(100003), back(sent.size(), -1);
  std::iota(sent.begin(), sent.end(), 5);
  const std::size_t bytes = sent.size() * sizeof(int);
  const auto a = std::make_unique<Buffer>(card, bytes), b = std::make_unique<Buffer>(card, bytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a->data()) % 256, 0u);
  card.copy(a->data(), sent.data(), bytes, stream);
  card.copy(b->data(), a->data(), bytes, stream);
  card.zero(b->data(), 3 * sizeof(int), stream);
  card.copy(back.data(), b->data(), bytes, stream);
  card.synchronize(stream);
  EXPECT_EQ(back[0], 0);
  EXPECT_EQ(back[2], 0);
  EXPECT_TRUE(std::equal(sent.begin() + 3, sent.end(), back.begin() + 3));
}

TEST(CudaBackend, ProfileAndMemoryAreTheCards) {
  NEEDS_GPU();
  DeviceBackend& card = cuda_backend(0);
  EXPECT_EQ(&card, &cuda_backend(0));
  EXPECT_EQ(card.device(), kCard);
  const DeviceProfile profile = *card.stream().profile;
  EXPECT_GE(profile.compute, 80);
  EXPECT_GT(profile.multiprocessors, 0);
  EXPECT_EQ(profile.max_threads_per_block, 1024);
  EXPECT_GT(profile.shared_per_block_optin, profile.shared_per_block);
  const std::size_t before = card.free_memory();
  {
    const Buffer held(card, std::size_t{64} << 20);
    EXPECT_LE(card.free_memory() + (std::size_t{60} << 20), before);
  }
  EXPECT_THROW(card.allocate(std::size_t{1} << 50), Error);
  const Buffer after(card, 16);  // a refused allocation leaves the card usable
  card.zero(after.data(), 16, card.stream());
  card.synchronize(card.stream());
}

}  // namespace
}  // namespace epitaxy::test
