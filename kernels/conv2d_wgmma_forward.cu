// Convolution on Hopper's tensor cores: y = conv(x, filter).
#include "kernels/device/conv_wgmma_pixels.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_wgmma_forward<World>(const Conv2dArgs& args, Stream stream) {
  if (args.problem.dtype == DType::bf16) return EPITAXY_WORLD::launch_wgmma_pixels_tile<BFloat16, false>(args, stream);
  if (args.problem.dtype == DType::fp16) return EPITAXY_WORLD::launch_wgmma_pixels_tile<Half, false>(args, stream);
  return EPITAXY_WORLD::launch_wgmma_pixels_tile<float, false>(args, stream);
}
}  // namespace epitaxy
