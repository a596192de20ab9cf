// The world a kernel file is compiled for: the same .cu becomes epitaxy::cuda under nvcc and epitaxy::emulated as plain C++.
//
//   #include "kernels/device/world.cuh"
//   namespace epitaxy::EPITAXY_WORLD {
//   namespace {
//   template <class T>
//   __global__ void __launch_bounds__(256) scale_kernel(T* y, const T* x, std::int64_t count, float factor) { ... }
//   }  // namespace
//   template <class T>
//   void scale(const ScaleArgs& a, Stream stream) {
//     launch(stream, "scale", scale_kernel<T>, blocks, 256, 0, a.y, a.x, a.count, a.factor);
//   }
//   }  // namespace epitaxy::EPITAXY_WORLD
//   template <>
//   void epitaxy::scale_forward<epitaxy::EPITAXY_WORLD::World>(const ScaleArgs& a, Stream stream) {
//     epitaxy::EPITAXY_WORLD::scale<float>(a, stream);
//   }
//
// Static shared memory: EPITAXY_SHARED(float, tile, [32][33]);  dynamic: EPITAXY_DYNAMIC_SHARED(float, memory);
// Both have undefined contents (NaN under emulation). Static memory is aligned to 16 bytes, dynamic to 128.
#pragma once

#include <cstddef>
#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

#if defined(EPITAXY_EMULATED)

#define EPITAXY_WORLD emulated
#include "emulator/cuda_math.h"
#include "emulator/cuda_threads.h"
#include "emulator/cuda_types.h"
#include "emulator/runtime.h"

namespace epitaxy::emulated {
using World = ::epitaxy::Emulated;
}

#else

#define EPITAXY_WORLD cuda
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "epitaxy/error.h"

#define EPITAXY_SHARED(type, name, ...) __shared__ __align__(16) type name __VA_ARGS__
#define EPITAXY_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(128) unsigned char epitaxy_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(epitaxy_dynamic_shared)

namespace epitaxy::cuda {
using World = ::epitaxy::Cuda;

/// Lets a kernel use more than 48 KB of shared memory; a driver call only when a kernel asks for more than ever before.
inline cudaError_t allow_shared_memory(const void* kernel, std::size_t dynamic_bytes) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, std::size_t> allowed;
  int device = 0;
  if (const cudaError_t status = cudaGetDevice(&device); status != cudaSuccess) return status;
  const std::lock_guard lock(mutex);
  const auto [at, unknown] = allowed.try_emplace({kernel, device}, 0);
  if (unknown) {
    cudaFuncAttributes attributes{};
    if (const cudaError_t status = cudaFuncGetAttributes(&attributes, kernel); status != cudaSuccess) return status;
    at->second = 48 * 1024 - std::min<std::size_t>(attributes.sharedSizeBytes, 48 * 1024);
  }
  if (dynamic_bytes <= at->second) return cudaSuccess;
  const cudaError_t status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(dynamic_bytes));
  if (status == cudaSuccess) at->second = dynamic_bytes;
  return status;
}

/// With EPITAXY_SYNC=1 every launch outside a capture is waited for, so that a failure names its kernel.
inline cudaError_t synchronize_if_asked(cudaStream_t stream) {
  static const bool asked = [] {
    const char* value = std::getenv("EPITAXY_SYNC");
    return value && *value == '1';
  }();
  if (!asked) return cudaSuccess;
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  if (const cudaError_t status = cudaStreamIsCapturing(stream, &capturing); status != cudaSuccess) return status;
  return capturing == cudaStreamCaptureStatusNone ? cudaStreamSynchronize(stream) : cudaSuccess;
}

inline void launch_erased(Stream stream, const char* name, const void* kernel, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
                          void** arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = dynamic_shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream.handle);
  cudaError_t status = dynamic_shared_bytes ? allow_shared_memory(kernel, dynamic_shared_bytes) : cudaSuccess;
  if (status == cudaSuccess) status = cudaLaunchKernelExC(&config, kernel, arguments);
  if (status == cudaSuccess) status = synchronize_if_asked(config.stream);
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a launch error is not sticky: clear it
  fail("kernel ", name, " failed: ", cudaGetErrorString(status), " (", cudaGetErrorName(status), "); grid ", grid.x, "x", grid.y, "x",
       grid.z, ", block ", block.x, "x", block.y, "x", block.z, ", ", dynamic_shared_bytes, " bytes of dynamic shared memory");
}

/// The one gate that kernels are launched through. Arguments are converted to the kernel's parameter types.
template <class... Parameters, class... Arguments>
void launch(Stream stream, const char* kernel_name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "a kernel is launched with exactly its parameters");
  std::tuple<Parameters...> values{static_cast<Parameters>(std::forward<Arguments>(arguments))...};
  std::apply(
      [&](auto&... value) {
        void* addresses[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
        launch_erased(stream, kernel_name, reinterpret_cast<const void*>(kernel), grid, block, dynamic_shared_bytes, addresses);
      },
      values);
}

}  // namespace epitaxy::cuda

#endif
