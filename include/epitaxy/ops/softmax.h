// Softmax and log-softmax over the last dimension.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// x [..., C] -> exp(x - max) / sum, or its logarithm; computed in fp32, rounded once. Rows of any length.
OperationPtr softmax(bool log = false);
/// (y, dy) -> dx.
OperationPtr softmax_gradient(bool log = false);

}  // namespace epitaxy
