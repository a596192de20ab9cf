// Conversion between floating types, and reshape.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// x floating -> the same values rounded to `to`. Gradient: cast back.
OperationPtr cast(DType to);

/// x -> [M, item dims...]: a view, free. x has M times the elements of `item`. Gradient: reshape back.
OperationPtr reshape(Shape item);

}  // namespace epitaxy
