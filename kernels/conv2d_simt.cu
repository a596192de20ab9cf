// Convolution by fused multiply-adds: strict fp32, and 16-bit storage with any channel count.
#include "epitaxy/dtype_switch.h"
#include "kernels/conv2d_paths.h"
#include "kernels/device/conv_kernel.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_simt<World>(const Conv2dArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  with_float(args.problem.dtype, [&]<class T>() {
    switch (args.pass) {
      case Conv2dPass::forward: return launch_conv2d_tile<T, Conv2dPass::forward, false>(args, stream);
      case Conv2dPass::input_gradient: return launch_conv2d_tile<T, Conv2dPass::input_gradient, false>(args, stream);
      case Conv2dPass::filter_gradient: return launch_conv2d_tile<T, Conv2dPass::filter_gradient, false>(args, stream);
    }
  });
}
}  // namespace epitaxy
