// Conversion between floating types, and reshape.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// x floating -> the same values rounded to `to`. Gradient: cast back.
OperationPtr cast(DType to);

/// x [N, ...] -> [N, item dims...]: a view, free. `item` has as many elements as one item of x. Gradient: reshape back.
OperationPtr reshape(Shape item);

}  // namespace epitaxy
