// Convolution on Hopper's tensor cores: y = conv(x, filter).
#include "kernels/device/conv_wgmma_pixels.cuh"
#include "kernels/device/conv_wgmma_wrap.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_wgmma_forward<World>(const Conv2dArgs& args, Stream stream) {
  const Conv2dArgs unrolled = EPITAXY_WORLD::unroll_periods(args, stream);
  if (args.problem.dtype == DType::bf16) return EPITAXY_WORLD::launch_wgmma_pixels_tile<BFloat16, false>(unrolled, stream);
  if (args.problem.dtype == DType::fp16) return EPITAXY_WORLD::launch_wgmma_pixels_tile<Half, false>(unrolled, stream);
  return EPITAXY_WORLD::launch_wgmma_pixels_tile<float, false>(unrolled, stream);
}
}  // namespace epitaxy
