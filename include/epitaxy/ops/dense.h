// Fully connected layer.
#pragma once

#include "epitaxy/ops/activation.h"

namespace epitaxy {

struct DenseOptions {
  Activation activation = Activation::none;  // epilogue: relu or none
  bool tf32 = false;
};

/// (x [N,F], w [O,F] of x's dtype, optional bias fp32 [O]) -> y [N,O] = activation(x w^T + bias).
OperationPtr dense(const DenseOptions& options = {});
/// (dy [N,O], w [O,F]) -> dx [N,F].
OperationPtr dense_input_gradient(const DenseOptions& options = {});
/// (x [N,F], dy [N,O]) -> dw fp32 [O,F].
OperationPtr dense_weight_gradient(const DenseOptions& options = {});
/// The options of an operation that dense() made; null for any other. For fusion.
const DenseOptions* dense_options(const Operation& operation);

}  // namespace epitaxy
