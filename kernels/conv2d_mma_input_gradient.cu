// Convolution on tensor cores: the input gradient in bf16, fp16 and tf32.
#include "epitaxy/dtype_switch.h"
#include "kernels/conv2d_paths.h"
#include "kernels/device/conv_kernel.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_mma_input_gradient<World>(const Conv2dArgs& args, Stream stream) {
  with_float(args.problem.dtype, [&]<class T>() { EPITAXY_WORLD::launch_conv2d_tile<T, Conv2dPass::input_gradient, true>(args, stream); });
}
}  // namespace epitaxy
