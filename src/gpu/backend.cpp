#include "gpu/backend.h"

#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <string>

#include "epitaxy/error.h"
#include "gpu/check.h"

namespace epitaxy {

namespace {

DeviceProfile profile_of(const cudaDeviceProp& card) {
  return {.compute = 10 * card.major + card.minor,
          .multiprocessors = card.multiProcessorCount,
          .max_threads_per_block = card.maxThreadsPerBlock,
          .max_blocks_yz = card.maxGridSize[1],
          .shared_per_block = card.sharedMemPerBlock,
          .shared_per_block_optin = card.sharedMemPerBlockOptin};
}

/// Every call makes its card the current one: kernels and libraries then run on the card that memory and stream belong to.
class CudaBackend final : public DeviceBackend {
 public:
  explicit CudaBackend(int index) : index_(index) {
    use();
    cudaDeviceProp card{};
    EPITAXY_CHECK(cudaGetDeviceProperties(&card, index));
    profile_ = profile_of(card);
    EPITAXY_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  Device device() const override { return {DeviceKind::cuda, index_}; }

  void* allocate(std::size_t bytes) override {
    use();
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes ? bytes : 1);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      fail("not enough memory on ", name(device()), ": ", bytes >> 20, " MiB asked, ", free_memory() >> 20,
           " MiB free; use a smaller batch");
    }
    EPITAXY_CHECK(status);
    return memory;
  }
  void free(void* memory) noexcept override {
    cudaSetDevice(index_);
    cudaFree(memory);
    cudaGetLastError();  // nobody can act on a failure here, and the next call must not report it
  }
  void copy(void* to, const void* from, std::size_t bytes, Stream stream) override {
    if (!bytes) return;
    use();
    EPITAXY_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, static_cast<cudaStream_t>(stream.handle)));
  }
  void zero(void* memory, std::size_t bytes, Stream stream) override {
    if (!bytes) return;
    use();
    EPITAXY_CHECK(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream.handle)));
  }
  void synchronize(Stream stream) override {
    use();
    EPITAXY_CHECK(cudaStreamSynchronize(static_cast<cudaStream_t>(stream.handle)));
  }
  Stream stream() override {
    use();
    return {stream_, &profile_};
  }
  std::size_t free_memory() override {
    use();
    std::size_t left = 0, all = 0;
    EPITAXY_CHECK(cudaMemGetInfo(&left, &all));
    return left;
  }

 private:
  void use() const { EPITAXY_CHECK(cudaSetDevice(index_)); }

  int index_;
  DeviceProfile profile_;
  cudaStream_t stream_ = nullptr;
};

struct Count {
  int devices;
  cudaError_t status;
};

Count count_devices() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess) return {devices, status};
  cudaGetLastError();
  return {0, status};
}

std::string why_none(cudaError_t status) {
  if (status == cudaSuccess) return "the driver lists none";
  int driver = 0;
  if (status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess)
    return driver == 0 ? "no NVIDIA driver is installed"
                       : text("the driver supports CUDA ", driver / 1000, ".", driver % 1000 / 10, ", this program needs ",
                              CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10);
  return text(cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}

}  // namespace

int cuda_device_count() { return count_devices().devices; }

DeviceBackend& cuda_backend(int index) {
  const auto [devices, status] = count_devices();
  if (devices == 0) reject("no CUDA device: ", why_none(status), "; use --device cpu, or check the driver with nvidia-smi");
  require(index >= 0 && index < devices, "device cuda:", index, ": this machine has ", devices,
          devices == 1 ? " CUDA device, cuda:0" : " CUDA devices, from cuda:0");
  static std::mutex mutex;
  // For the life of the process: streams cannot be destroyed after the driver has shut down.
  static auto& backends = *new std::map<int, CudaBackend*>;
  const std::lock_guard lock(mutex);
  CudaBackend*& backend = backends[index];
  if (!backend) backend = new CudaBackend(index);
  return *backend;
}

}  // namespace epitaxy
