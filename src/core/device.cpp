#include "epitaxy/device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "core/host_memory.h"
#include "epitaxy/error.h"

namespace epitaxy {

std::string name(Device device) {
  switch (device.kind) {
    case DeviceKind::cpu: return "cpu";
    case DeviceKind::emulated: return "emulated";
    case DeviceKind::cuda: return "cuda:" + std::to_string(device.index);
  }
  return {};
}

Device parse_device(std::string_view name) {
  if (name == "cpu") return {DeviceKind::cpu, 0};
  if (name == "emulated") return {DeviceKind::emulated, 0};
  if (name == "cuda") return {DeviceKind::cuda, 0};
  if (name.starts_with("cuda:") && name.size() > 5 && name.size() < 9 && name.find_first_not_of("0123456789", 5) == std::string_view::npos)
    return {DeviceKind::cuda, std::stoi(std::string(name.substr(5)))};
  reject("unknown device '", name, "': one of cpu, cuda, cuda:N");
}

namespace {

class CpuBackend final : public DeviceBackend {
 public:
  Device device() const override { return {}; }
  void* allocate(std::size_t bytes) override {
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    const bool large = bytes >= 2 * kHugePage;
    void* memory = nullptr;
    if (posix_memalign(&memory, large ? kHugePage : 256, bytes ? bytes : 256) != 0) memory = nullptr;
#if defined(MADV_HUGEPAGE)
    // Training is 5% faster on huge pages. The last, partial one stays small, so that no more memory is taken than asked for.
    if (memory && large) (void)madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
    if (!memory) fail("not enough memory on cpu: ", bytes >> 20, " MiB asked, ", free_memory() >> 20, " MiB free; use a smaller batch");
    return memory;
  }
  void free(void* memory) noexcept override { std::free(memory); }
  void copy(void* to, const void* from, std::size_t bytes, Stream) override {
    if (bytes) std::memmove(to, from, bytes);
  }
  void zero(void* memory, std::size_t bytes, Stream) override {
    if (bytes) std::memset(memory, 0, bytes);
  }
  void synchronize(Stream) override {}
  Stream stream() override { return {}; }
  std::size_t free_memory() override { return host_free_memory(); }
};

}  // namespace

DeviceBackend& cpu_backend() {
  static CpuBackend backend;
  return backend;
}

}  // namespace epitaxy
