// Concatenation of two tensors along their channels (the last dimension): skip connections.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// (a [..., C1], b [..., C2]), floating and alike but for the channels -> y [..., C1 + C2], a's channels first.
OperationPtr concat();
/// dy [..., C1 + C2] -> (da [..., C1], db [..., C2]), C1 = first_channels.
OperationPtr concat_gradient(std::int64_t first_channels);

}  // namespace epitaxy
