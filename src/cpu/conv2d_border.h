// Periodic borders of a convolution on the CPU, as copies.
#pragma once

#include <cstdint>

#include "kernels/conv2d.h"

namespace epitaxy {

/// Borders that are copied in; 0 along an axis of zero padding, which the primitive does itself.
struct Border {
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;
  bool any() const { return top || bottom || left || right; }
};

Border periodic_border(const Conv2dProblem& problem);

/// to [n, h+top+bottom, w+left+right, c]: x [n,h,w,c] wrapped around, as often as the border needs.
void wrap(const Conv2dProblem& problem, const Border& border, const void* x, DType from_type, void* to, DType to_type);
/// dx [n,h,w,c] = the sum over all copies in g [n, h+top+bottom, w+left+right, c] (fp32), in one order; rounded once.
void unwrap(const Conv2dProblem& problem, const Border& border, const float* g, void* dx, DType dtype);

}  // namespace epitaxy
