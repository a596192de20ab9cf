// The fast matrix product on the CPU.
#pragma once

#include <memory>

#include "epitaxy/ops/operation.h"
#include "kernels/dense.h"

namespace epitaxy {

/// What a product keeps between its runs. Null where there is no fast path (the reference then runs). Made for the number of threads set
/// at this moment; small products take one.
std::shared_ptr<Prepared> cpu_prepare_dense(const GemmProblem& problem);
std::size_t cpu_dense_workspace_bytes(const Prepared& prepared);
/// Same bits in every run with one number of threads. `workspace` is aligned to 64 bytes.
void cpu_run_dense(Prepared& prepared, const DenseArgs& args, void* workspace);

}  // namespace epitaxy
