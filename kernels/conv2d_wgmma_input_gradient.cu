// Convolution on Hopper's tensor cores: the input gradient.
#include "kernels/device/conv_wgmma_pixels.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_wgmma_input_gradient<World>(const Conv2dArgs& args, Stream stream) {
  if (args.problem.dtype == DType::bf16) return EPITAXY_WORLD::launch_wgmma_pixels_tile<BFloat16, true>(args, stream);
  return EPITAXY_WORLD::launch_wgmma_pixels_tile<Half, true>(args, stream);
}
}  // namespace epitaxy
