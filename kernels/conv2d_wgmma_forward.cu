// Convolution on Hopper's tensor cores: y = conv(x, filter).
#include "epitaxy/dtype_switch.h"
#include "kernels/device/conv_wgmma_pixels.cuh"
#include "kernels/device/conv_wgmma_prepare.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_wgmma_forward<World>(const Conv2dArgs& args, Stream stream) {
  const Conv2dArgs prepared = EPITAXY_WORLD::prepare_wgmma(args, stream);
  with_float(args.problem.dtype, [&]<class T>() { EPITAXY_WORLD::launch_wgmma_pixels_tile<T, true>(prepared, stream); });
}
}  // namespace epitaxy
