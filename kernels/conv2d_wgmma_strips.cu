// Convolution on Hopper's tensor cores: y and dx where the taps of a filter row share one load.
#include "kernels/device/conv_wgmma_strips.cuh"
#include "kernels/device/conv_wgmma_wrap.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_wgmma_strips<World>(const Conv2dArgs& args, Stream stream) {
  const Conv2dArgs unrolled = EPITAXY_WORLD::unroll_periods(args, stream);
  const bool forward = args.pass == Conv2dPass::forward;
  switch (args.problem.dtype) {
    case DType::bf16:
      return forward ? EPITAXY_WORLD::launch_wgmma_strips_tile<BFloat16, false>(unrolled, stream)
                     : EPITAXY_WORLD::launch_wgmma_strips_tile<BFloat16, true>(unrolled, stream);
    case DType::fp16:
      return forward ? EPITAXY_WORLD::launch_wgmma_strips_tile<Half, false>(unrolled, stream)
                     : EPITAXY_WORLD::launch_wgmma_strips_tile<Half, true>(unrolled, stream);
    default: return EPITAXY_WORLD::launch_wgmma_strips_tile<float, false>(unrolled, stream);  // tf32, forward
  }
}
}  // namespace epitaxy
