// Recurrent networks on the CPU, fast.
#pragma once

#include <cstddef>
#include <memory>

#include "epitaxy/ops/operation.h"
#include "kernels/rnn.h"

namespace epitaxy {

enum class RnnPass : std::uint8_t { forward, backward };

/// Where everything lies in the workspace, for the number of threads set at this moment.
std::shared_ptr<Prepared> cpu_prepare_rnn(const RnnProblem& problem, RnnPass pass);
std::size_t cpu_rnn_workspace_bytes(const Prepared& prepared);
/// The same bits for any number of threads. `workspace` is aligned to 64 bytes.
void cpu_rnn_forward(const Prepared& prepared, const RnnArgs& args, void* workspace);
void cpu_rnn_backward(const Prepared& prepared, const RnnGradientArgs& args, void* workspace);

}  // namespace epitaxy
