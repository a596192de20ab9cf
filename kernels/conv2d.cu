// Convolution: the path of the plan, and the ordered sum of a split filter gradient.
#include "kernels/conv2d.h"

#include "epitaxy/error.h"
#include "kernels/conv2d_paths.h"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;

/// result[i] = partial[0][i] + partial[1][i] + ..., in this order.
__global__ void __launch_bounds__(kThreads) sum_splits_kernel(float* result, const float* partial, std::int64_t count, int splits) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  float sum = partial[i];
  for (int split = 1; split < splits; ++split) sum += partial[split * count + i];
  result[i] = sum;
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d<World>(const Conv2dArgs& args, Stream stream) {
  if (args.problem.second || args.problem.residual || args.problem.statistics) fail("conv2d: no kernel for this epilogue yet");
  if (args.plan.path == Conv2dPath::simt) {
    conv2d_simt<World>(args, stream);
  } else {
    switch (args.pass) {
      case Conv2dPass::forward: conv2d_mma_forward<World>(args, stream); break;
      case Conv2dPass::input_gradient: conv2d_mma_input_gradient<World>(args, stream); break;
      case Conv2dPass::filter_gradient: conv2d_mma_filter_gradient<World>(args, stream); break;
    }
  }
  if (args.pass != Conv2dPass::filter_gradient || args.plan.splits == 1) return;
  const Conv2dProblem& d = args.problem;
  const std::int64_t count = d.k * d.r * d.s * d.group_inputs();
  EPITAXY_WORLD::launch(stream, "conv2d_sum_splits", EPITAXY_WORLD::sum_splits_kernel,
                        static_cast<unsigned>((count + EPITAXY_WORLD::kThreads - 1) / EPITAXY_WORLD::kThreads), EPITAXY_WORLD::kThreads, 0,
                        static_cast<float*>(args.result), static_cast<const float*>(args.workspace), count, args.plan.splits);
}
}  // namespace epitaxy
