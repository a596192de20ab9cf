// Sum of two tensors: residual connections and gradient fan-in.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// (a, b) of one spec -> a + b, rounded once. Gradient: dy to both.
OperationPtr add();

}  // namespace epitaxy
