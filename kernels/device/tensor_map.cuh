// DeviceTensorMap: a TensorMap as kernels of this world take it, by value in a `const __grid_constant__` parameter (or a member of one).
#pragma once

#include "kernels/device/world.cuh"
#include "kernels/tensor_map.h"

#if !defined(EPITAXY_EMULATED)
#include <cuda.h>  // types only: the encoder is fetched from the driver, so that nothing links libcuda
#endif

namespace epitaxy::EPITAXY_WORLD {

#if defined(EPITAXY_EMULATED)

using DeviceTensorMap = TensorMap;
inline const DeviceTensorMap& device_tensor_map(const TensorMap& map) { return map; }

#else

using DeviceTensorMap = CUtensorMap;

template <class Function>
Function driver_function(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
  const cudaError_t status = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
#else
  const cudaError_t status = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &result);
#endif
  if (status != cudaSuccess || result != cudaDriverEntryPointSuccess || !found)
    fail("the CUDA driver has no ", name, ": update it to one of CUDA 12 or later");
  return reinterpret_cast<Function>(found);
}

/// Encodes the map on the host. The address is part of it, so it is made anew where a tensor moves.
inline DeviceTensorMap device_tensor_map(const TensorMap& map) {
  static const auto encode_tiled = driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  static const auto encode_im2col = driver_function<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  CUtensorMapDataType type{};
  switch (map.dtype) {
    // Tensor cores ignore the lower 13 bits: without the rounding of a tf32 map they would round towards zero.
    case DType::fp32: type = map.tf32 ? CU_TENSOR_MAP_DATA_TYPE_TFLOAT32 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32; break;
    case DType::bf16: type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16; break;
    case DType::fp16: type = CU_TENSOR_MAP_DATA_TYPE_FLOAT16; break;
    case DType::uint8: type = CU_TENSOR_MAP_DATA_TYPE_UINT8; break;
    case DType::int32: type = CU_TENSOR_MAP_DATA_TYPE_INT32; break;
    default: fail("tensor map: no tensors of ", name(map.dtype));
  }
  cuuint64_t sizes[5], strides[4];
  cuuint32_t box[5], steps[5];
  for (int i = 0; i < map.rank; ++i) {
    sizes[i] = static_cast<cuuint64_t>(map.sizes[i]);
    box[i] = static_cast<cuuint32_t>(map.box[i]);
    steps[i] = static_cast<cuuint32_t>(map.steps[i]);
    if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(map.strides[i]);
  }
  const auto swizzle = map.swizzle == TensorMap::Swizzle::swizzle128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE;
  const auto rank = static_cast<cuuint32_t>(map.rank);
  alignas(64) DeviceTensorMap encoded{};
  const CUresult status =
      map.im2col
          ? encode_im2col(&encoded, type, rank, map.base, sizes, strides, map.lower.data(), map.upper.data(),
                          static_cast<cuuint32_t>(map.channels), static_cast<cuuint32_t>(map.pixels), steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                          swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
          : encode_tiled(&encoded, type, rank, map.base, sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                         CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) fail("the CUDA driver refuses a tensor map of rank ", map.rank, " (error ", static_cast<int>(status), ")");
  return encoded;
}

#endif

}  // namespace epitaxy::EPITAXY_WORLD
