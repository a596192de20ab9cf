// Free memory of machines, containers and batch jobs, from made-up /proc and /sys trees.
#include "core/host_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace epitaxy {
namespace {

namespace fs = std::filesystem;

class HostMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) / (std::string("memory_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    put("proc/meminfo", "MemTotal:       2000000 kB\nMemFree:          1000 kB\nMemAvailable:    1000000 kB\nHugePages_Total:  0\n");
  }
  void TearDown() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::uint64_t free() const { return host_free_memory(root_.string()); }
  fs::path root_;
};

TEST_F(HostMemory, WithoutGroupsWhatTheMachineHas) { EXPECT_EQ(free(), 1000000u * 1024); }

TEST_F(HostMemory, AGroupOfVersion2AndThoseAboveIt) {
  put("proc/self/cgroup", "0::/jobs/7\n");
  put("sys/fs/cgroup/jobs/7/memory.max", "max\n");
  put("sys/fs/cgroup/jobs/7/memory.current", "1000\n");
  EXPECT_EQ(free(), 1000000u * 1024);  // no limit
  put("sys/fs/cgroup/jobs/memory.max", "5000\n");
  put("sys/fs/cgroup/jobs/memory.current", "3000\n");
  EXPECT_EQ(free(), 2000u);
  put("sys/fs/cgroup/jobs/memory.stat", "anon 100\ninactive_file 1500\nactive_file 200\n");
  EXPECT_EQ(free(), 3500u);  // cached files give way
  put("sys/fs/cgroup/jobs/7/memory.max", "4000\n");
  EXPECT_EQ(free(), 3000u);
  put("sys/fs/cgroup/jobs/7/memory.current", "9000\n");
  EXPECT_EQ(free(), 0u);
}

TEST_F(HostMemory, AContainerOfVersion1SeesItsLimitAtTheTop) {
  put("proc/self/cgroup", "5:cpuset:/\n4:cpu,memory:/docker/abc\n0::/\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "4000\n");
  put("sys/fs/cgroup/memory/memory.stat", "cache 900\ninactive_file 100\ntotal_inactive_file 500\n");
  EXPECT_EQ(free(), 3500u);
}

TEST_F(HostMemory, TheAddressSpaceIsALimit) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers reserve the address space";
#endif
  put("proc/self/statm", "10 5 1 1 0 1 0\n");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  if (before.rlim_cur != RLIM_INFINITY) GTEST_SKIP() << "the address space is already limited";
  const rlimit less{rlim_t{900} << 20, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &less), 0);
  const std::uint64_t left = free();
  ::setrlimit(RLIMIT_AS, &before);
  EXPECT_EQ(left, (std::uint64_t{900} << 20) - 10 * static_cast<std::uint64_t>(::getpagesize()));
}

}  // namespace
}  // namespace epitaxy
