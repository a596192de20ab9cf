// Times work on a CUDA stream with events; the L2 cache is overwritten before every measurement.
#pragma once

#include <cuda_runtime.h>

#include "epitaxy/error.h"

namespace epitaxy::bench {

inline void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) fail(call, " failed: ", cudaGetErrorString(status));
}

class GpuTimer {
 public:
  explicit GpuTimer(cudaStream_t stream) : stream_(stream) {
    int device = 0, l2 = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device), "cudaDeviceGetAttribute");
    bytes_ = 2 * static_cast<std::size_t>(l2);
    check(cudaMalloc(&scratch_, bytes_), "cudaMalloc");
    check(cudaEventCreate(&start_), "cudaEventCreate");
    check(cudaEventCreate(&stop_), "cudaEventCreate");
  }
  ~GpuTimer() {
    cudaFree(scratch_);
    cudaEventDestroy(start_);
    cudaEventDestroy(stop_);
  }
  GpuTimer(const GpuTimer&) = delete;
  GpuTimer& operator=(const GpuTimer&) = delete;

  /// Seconds that `work` takes on the stream.
  template <class Work>
  double seconds(Work&& work) {
    check(cudaMemsetAsync(scratch_, value_++ & 0xff, bytes_, stream_), "cudaMemsetAsync");
    check(cudaEventRecord(start_, stream_), "cudaEventRecord");
    work();
    check(cudaEventRecord(stop_, stream_), "cudaEventRecord");
    check(cudaEventSynchronize(stop_), "cudaEventSynchronize");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start_, stop_), "cudaEventElapsedTime");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t start_{}, stop_{};
  void* scratch_ = nullptr;
  std::size_t bytes_ = 0;
  int value_ = 0;
};

}  // namespace epitaxy::bench
