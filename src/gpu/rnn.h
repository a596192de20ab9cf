// Recurrent networks by cuDNN.
#pragma once

#include <cstddef>
#include <memory>

#include "epitaxy/ops/operation.h"
#include "kernels/rnn.h"

namespace epitaxy {

/// Descriptors and sizes of one pass of a network on the current device: the forward pass, or where `given`, the backward one. Rejects
/// where the build has no cuDNN.
std::shared_ptr<Prepared> cuda_prepare_rnn(const RnnProblem& problem, const RnnGradients* given);
std::size_t cuda_rnn_workspace_bytes(const Prepared& prepared);
std::size_t cuda_rnn_reserve_bytes(const Prepared& prepared);
/// Enqueues the pass; with lengths it first waits for the stream, for cuDNN takes them from the host.
void cuda_rnn_forward(Prepared& prepared, const RnnArgs& args, void* workspace, Stream stream);
void cuda_rnn_backward(Prepared& prepared, const RnnGradientArgs& args, void* workspace, Stream stream);

}  // namespace epitaxy
