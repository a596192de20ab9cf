// Device names, the CPU's memory, errors.
#include "epitaxy/device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "epitaxy/error.h"

namespace epitaxy {
namespace {

TEST(Device, NamesParseBack) {
  for (const Device device :
       {Device{DeviceKind::cpu, 0}, Device{DeviceKind::emulated, 0}, Device{DeviceKind::cuda, 0}, Device{DeviceKind::cuda, 13}})
    EXPECT_EQ(parse_device(name(device)), device);
  EXPECT_EQ(parse_device("cuda"), (Device{DeviceKind::cuda, 0}));
}

TEST(Device, RejectsOtherNames) {
  for (const char* name : {"", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:12345", "cpu:0"}) {
    try {
      parse_device(name);
      FAIL() << "accepted '" << name << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::usage);
      EXPECT_NE(std::string(error.what()).find("one of cpu, cuda, cuda:N"), std::string::npos) << error.what();
    }
  }
}

TEST(CpuBackend, CopiesZeroesAndAligns) {
  DeviceBackend& cpu = cpu_backend();
  EXPECT_EQ(cpu.device(), Device{});
  unsigned char* memory = static_cast<unsigned char*>(cpu.allocate(300));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 256, 0u);
  std::vector<unsigned char> pattern(300, 0xAB);
  cpu.copy(memory, pattern.data(), 300, cpu.stream());
  EXPECT_EQ(std::memcmp(memory, pattern.data(), 300), 0);
  cpu.zero(memory, 299, cpu.stream());
  cpu.synchronize(cpu.stream());
  EXPECT_EQ(memory[298], 0);
  EXPECT_EQ(memory[299], 0xAB);
  cpu.free(memory);
  EXPECT_GT(cpu.free_memory(), 0u);
}

TEST(CpuBackend, TooMuchMemoryIsOneClearLine) {
  try {
    cpu_backend().free(cpu_backend().allocate(std::size_t{1} << 62));
    FAIL() << "allocated 4 EiB";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::failure);
    EXPECT_EQ(error.exit_code(), 1);
    EXPECT_NE(std::string(error.what()).find("not enough memory on cpu"), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

TEST(Error, JoinsItsParts) {
  EXPECT_NO_THROW(require(true, "never"));
  try {
    require(false, "x must be ", 4, ", got ", 2.5);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "x must be 4, got 2.5");
    EXPECT_EQ(error.exit_code(), 2);
  }
}

}  // namespace
}  // namespace epitaxy
