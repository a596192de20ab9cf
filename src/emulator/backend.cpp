// Guarded allocations of the emulated device.
#include "emulator/backend.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "emulator/scheduler.h"
#include "epitaxy/error.h"

namespace epitaxy {

namespace {

constexpr std::size_t kAlignment = 256;
// ASan has red zones of its own, and only for blocks of the exact size.
constexpr std::size_t kGuardBytes = emulated::kAddressSanitizer ? 0 : 256;
constexpr unsigned char kPoison = 0xff, kGuard = 0xa5;

DeviceProfile& profile() {
  static DeviceProfile one = kProfile90;
  return one;
}

class EmulatedBackend final : public DeviceBackend {
 public:
  Device device() const override { return {DeviceKind::emulated, 0}; }

  void* allocate(std::size_t bytes) override {
    void* block = nullptr;
    if (posix_memalign(&block, kAlignment, bytes + 2 * kGuardBytes + (bytes + kGuardBytes == 0)) != 0)
      fail("not enough memory on emulated: ", bytes >> 20, " MiB asked, ", free_memory() >> 20, " MiB free; use a smaller batch");
    auto* memory = static_cast<unsigned char*>(block) + kGuardBytes;
    std::memset(memory - kGuardBytes, kGuard, kGuardBytes);
    std::memset(memory, kPoison, bytes);
    std::memset(memory + bytes, kGuard, kGuardBytes);
    const std::lock_guard lock(mutex_);
    allocations_.emplace(memory, bytes);
    return memory;
  }

  void free(void* memory) noexcept override {
    if (!memory) return;
    const std::lock_guard lock(mutex_);
    const auto at = allocations_.find(static_cast<unsigned char*>(memory));
    if (at == allocations_.end()) {
      damage_ = "free of memory that was not allocated on the emulated device";
      return;
    }
    if (damage_.empty()) damage_ = damage_around(at->first, at->second);
    std::free(at->first - kGuardBytes);
    allocations_.erase(at);
  }

  void copy(void* to, const void* from, std::size_t bytes, Stream) override {
    if (bytes) std::memmove(to, from, bytes);
  }
  void zero(void* memory, std::size_t bytes, Stream) override {
    if (bytes) std::memset(memory, 0, bytes);
  }
  void synchronize(Stream) override {
    if (std::string found = damage(); !found.empty()) fail(found);
  }
  Stream stream() override { return {nullptr, &profile()}; }
  std::size_t free_memory() override { return cpu_backend().free_memory(); }

  /// The first damage found, once.
  std::string damage() {
    const std::lock_guard lock(mutex_);
    for (auto at = allocations_.begin(); at != allocations_.end() && damage_.empty(); ++at) {
      damage_ = damage_around(at->first, at->second);
      if (damage_.empty()) continue;  // mended, so that one mistake is reported once
      std::memset(at->first - kGuardBytes, kGuard, kGuardBytes);
      std::memset(at->first + at->second, kGuard, kGuardBytes);
    }
    return std::exchange(damage_, {});
  }

 private:
  static std::string damage_around(const unsigned char* memory, std::size_t bytes) {
    for (std::size_t i = 0; i < kGuardBytes; ++i) {
      if (memory[bytes + i] != kGuard) return text("out of bounds write ", i, " bytes past the end of an allocation of ", bytes, " bytes");
      if (memory[-1 - static_cast<std::ptrdiff_t>(i)] != kGuard)
        return text("out of bounds write ", i + 1, " bytes before an allocation of ", bytes, " bytes");
    }
    return {};
  }

  std::mutex mutex_;
  std::map<unsigned char*, std::size_t> allocations_;
  std::string damage_;
};

EmulatedBackend& backend() {
  static EmulatedBackend one;
  return one;
}

}  // namespace

DeviceBackend& emulated_backend() { return backend(); }
void set_emulated_profile(const DeviceProfile& wanted) { profile() = wanted; }

namespace emulated {
std::string damaged_allocation() { return backend().damage(); }
const DeviceProfile& default_profile() { return profile(); }
}  // namespace emulated

}  // namespace epitaxy
