// Convolution on Hopper's tensor cores: the filter gradient.
#include "kernels/device/conv_wgmma_filter.cuh"
#include "kernels/device/conv_wgmma_prepare.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_wgmma_filter_gradient<World>(const Conv2dArgs& args, Stream stream) {
  const Conv2dArgs prepared = EPITAXY_WORLD::prepare_wgmma(args, stream);
  if (args.problem.dtype == DType::bf16) return EPITAXY_WORLD::launch_wgmma_filter_tile<BFloat16>(prepared, stream);
  return EPITAXY_WORLD::launch_wgmma_filter_tile<Half>(prepared, stream);
}
}  // namespace epitaxy
