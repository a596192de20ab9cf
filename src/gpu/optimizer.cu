// The global norm by CUB's device-wide reduction, whose sums of floats are repeatable from run to run on one card. Squares in double, so
// that none overflows.
#include <cub/device/device_reduce.cuh>

#include "gpu/check.h"
#include "kernels/device/world.cuh"
#include "kernels/optimizer.h"

namespace epitaxy {

namespace {

struct Square {
  __host__ __device__ double operator()(float x) const { return static_cast<double>(x) * x; }
};

/// The sum itself lies at the start of the scratch memory.
constexpr std::size_t kSumBytes = 256;

cudaError_t sum_call(const GlobalNormArgs& args, void* scratch, std::size_t& bytes, cudaStream_t stream) {
  return cub::DeviceReduce::TransformReduce(scratch, bytes, args.gradients, static_cast<double*>(args.scratch), args.count,
                                            ::cuda::std::plus<>{}, Square{}, 0.0, stream);
}

__global__ void clip_kernel(const double* sum, float* norm, float* scale, double maximum) {
  const double root = sqrt(*sum);
  *norm = static_cast<float>(root);
  *scale = static_cast<float>(fmin(1.0, maximum / (root + 1e-6)));
}

}  // namespace

std::size_t global_norm_scratch_bytes(std::int64_t count) {
  std::size_t bytes = 0;
  EPITAXY_CHECK(sum_call({nullptr, nullptr, nullptr, nullptr, 0, count, 1.0f}, nullptr, bytes, nullptr));
  return kSumBytes + bytes;
}

template <>
void global_norm<Cuda>(const GlobalNormArgs& args, Stream stream) {
  std::size_t bytes = args.scratch_bytes - kSumBytes;
  EPITAXY_CHECK(sum_call(args, static_cast<std::byte*>(args.scratch) + kSumBytes, bytes, static_cast<cudaStream_t>(stream.handle)));
  cuda::launch(stream, "clip_by_global_norm", clip_kernel, dim3(1), dim3(1), 0, static_cast<const double*>(args.scratch), args.norm,
               args.scale, static_cast<double>(args.maximum));
}

}  // namespace epitaxy
