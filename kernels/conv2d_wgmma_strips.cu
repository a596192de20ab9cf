// Convolution on Hopper's tensor cores: y and dx where the taps of a filter row share one load.
#include "epitaxy/dtype_switch.h"
#include "kernels/device/conv_wgmma_prepare.cuh"
#include "kernels/device/conv_wgmma_strips.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_wgmma_strips<World>(const Conv2dArgs& args, Stream stream) {
  const Conv2dArgs prepared = EPITAXY_WORLD::prepare_wgmma(args, stream);
  with_float(args.problem.dtype, [&]<class T>() {
    if (args.pass == Conv2dPass::forward)
      EPITAXY_WORLD::launch_wgmma_strips_tile<T, true>(prepared, stream);
    else
      EPITAXY_WORLD::launch_wgmma_strips_tile<T, false>(prepared, stream);
  });
}
}  // namespace epitaxy
