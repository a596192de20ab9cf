// The parts of the convolution that are compiled apart.
#pragma once

#include "kernels/conv2d.h"

namespace epitaxy {

template <class World>
void conv2d_simt(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_forward(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_input_gradient(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_mma_filter_gradient(const Conv2dArgs& args, Stream stream);

}  // namespace epitaxy
