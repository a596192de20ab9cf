// Matrix products by cuBLASLt.
#pragma once

#include <cstddef>
#include <memory>

#include "epitaxy/ops/operation.h"
#include "kernels/dense.h"

namespace epitaxy {

/// Descriptors, layouts and the chosen algorithm of one product on the current device. No algorithm adds in place or by atomics, and the
/// workspace is fixed, so every run gives the same bits. Throws where cuBLASLt has no such algorithm.
std::shared_ptr<Prepared> cuda_prepare_gemm(const BlasGemm& gemm);
std::size_t cuda_gemm_workspace_bytes(const Prepared& prepared);
/// Enqueues the product; `args` in BLAS's order, workspace of cuda_gemm_workspace_bytes aligned to 256 bytes. Host work only where the
/// operands are aligned to fewer bytes than ever before.
void cuda_run_gemm(Prepared& prepared, const DenseArgs& args, void* workspace, Stream stream);

}  // namespace epitaxy
