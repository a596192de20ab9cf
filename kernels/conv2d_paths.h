// The parts of the convolution that are compiled apart.
#pragma once

#include "kernels/conv2d.h"

namespace epitaxy {

/// Whether the kernel of a plan writes the statistics itself: its tiles are theirs. Else a pass over the result does.
inline bool computes_statistics(Conv2dPass pass, const Conv2dProblem& d, const Conv2dPlan& plan) {
  if (pass == Conv2dPass::input_gradient && d.stride != std::array<std::int64_t, 2>{1, 1}) return false;
  const bool tensor_cores = d.dtype != DType::fp32 || d.tf32;
  return (plan.path == Conv2dPath::wgmma && plan.tile < Conv2dTile::m256n64_strips) ||
         (plan.path == Conv2dPath::mma && plan.tile != Conv2dTile::m64n64) || (plan.path == Conv2dPath::first && tensor_cores);
}

template <class World>
void conv2d_simt(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_forward(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_input_gradient(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_filter_gradient(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_first(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_depthwise(const Conv2dArgs& args, Stream stream);

}  // namespace epitaxy
