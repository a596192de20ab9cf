// Devices and the interface that each of them gives the engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace epitaxy {

enum class DeviceKind : std::uint8_t { cpu, cuda, emulated };

/// `cpu`, `cuda:N`, and in development builds `emulated` (the kernels under the SIMT emulator).
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

std::string name(Device device);
/// "cpu", "cuda", "cuda:1", "emulated". Rejects anything else.
Device parse_device(std::string_view name);

/// The worlds that implement an operation. kernels/<op>.h declares `template <class World> void op_forward(const OpArgs&, Stream)`;
/// kernels/<op>.cu defines it for Cuda and Emulated, src/reference/<op>.cpp for Reference, src/cpu/<op>.cpp for Host where it is heavy.
struct Cuda {};
struct Emulated {};
struct Reference {};  // plain loops, double accumulation: what the others are held against
struct Host {};       // fast CPU code

/// What a path, tile or split is chosen by: limits and size of one GPU, real or emulated.
struct DeviceProfile {
  int compute = 90;  // 80, 90, 120, ...: ten times the compute capability
  int multiprocessors = 132;
  int max_threads_per_block = 1024;
  int max_blocks_yz = 65535;                        // gridDim.y and .z; .x goes to 2^31 - 1
  std::size_t shared_per_block = 48 * 1024;         // static, or dynamic without opt-in
  std::size_t shared_per_block_optin = 227 * 1024;  // dynamic with opt-in
  bool operator==(const DeviceProfile&) const = default;
};

inline constexpr DeviceProfile kProfile80{80, 108, 1024, 65535, 48 * 1024, 163 * 1024};
inline constexpr DeviceProfile kProfile90{90, 132, 1024, 65535, 48 * 1024, 227 * 1024};
inline constexpr DeviceProfile kProfile120{120, 170, 1024, 65535, 48 * 1024, 99 * 1024};

/// An ordered queue of work: a cudaStream_t on CUDA; nothing elsewhere, where work runs at once. Carries its device's profile.
struct Stream {
  void* handle = nullptr;
  const DeviceProfile* profile = nullptr;
};

/// Memory and synchronisation of one device. Knows no operation.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;
  virtual Device device() const = 0;
  /// Memory aligned to 256 bytes, contents undefined. Throws Error that names the size and what is free.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void free(void* memory) noexcept = 0;
  /// Copies within the device, or between it and the host; ordered in the stream, complete after synchronize().
  virtual void copy(void* to, const void* from, std::size_t bytes, Stream stream) = 0;
  virtual void zero(void* memory, std::size_t bytes, Stream stream) = 0;
  virtual void synchronize(Stream stream) = 0;
  /// The stream that work goes to unless said otherwise.
  virtual Stream stream() = 0;
  /// Bytes of memory not in use.
  virtual std::size_t free_memory() = 0;
};

/// The host's own memory.
DeviceBackend& cpu_backend();

}  // namespace epitaxy
