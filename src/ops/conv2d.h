// A convolution whose GPU plan is given instead of chosen: for tests and tuning.
#pragma once

#include "kernels/conv2d.h"

namespace epitaxy {

/// The operation of that pass; `size` is the image's {height, width} for the input gradient, the filter's {rows, columns} for the filter
/// gradient, unused forward. Running it rejects a plan that is_supported() refuses. The CPU ignores the plan.
OperationPtr conv2d_with_plan(Conv2dPass pass, const Conv2dOptions& options, std::array<std::int64_t, 2> size, const Conv2dPlan& plan,
                              const Conv2dGradientEpilogue& epilogue = {});

/// The problem of a pass from its inputs' specs, in the order of conv2d(), conv2d_input_gradient(), conv2d_filter_gradient(); checks them.
Conv2dProblem conv2d_problem(Conv2dPass pass, const Conv2dOptions& options, std::array<std::int64_t, 2> size,
                             std::span<const TensorSpec> inputs, const Conv2dGradientEpilogue& epilogue = {});

}  // namespace epitaxy
