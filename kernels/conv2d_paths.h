// The parts of the convolution that are compiled apart.
#pragma once

#include "kernels/conv2d.h"

namespace epitaxy {

/// Whether the forward kernel of a plan writes the statistics itself: its tiles are theirs. Else a pass over y does.
inline bool computes_statistics(const Conv2dPlan& plan) {
  return plan.path == Conv2dPath::wgmma || (plan.path == Conv2dPath::mma && plan.tile != Conv2dTile::m64n64);
}

template <class World>
void conv2d_simt(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_forward(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_input_gradient(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_filter_gradient(const Conv2dArgs& args, Stream stream);

}  // namespace epitaxy
