// The fast convolution on the CPU.
#pragma once

#include <memory>

#include "epitaxy/ops/operation.h"
#include "kernels/conv2d.h"

namespace epitaxy {

/// What a convolution keeps between its runs: compiled primitives and the places of their operands in the workspace. Null where there is
/// no fast path (the reference then runs). Made for the number of threads set at this moment.
std::shared_ptr<Prepared> cpu_prepare_conv2d(Conv2dPass pass, const Conv2dProblem& problem);
std::size_t cpu_conv2d_workspace_bytes(const Prepared& prepared);
/// Same bits in every run with one number of threads. `workspace` is aligned to 64 bytes.
void cpu_run_conv2d(Prepared& prepared, const Conv2dArgs& args, void* workspace);

}  // namespace epitaxy
