// Normalisation, ReLU and max pooling in one pass: the stem of a residual network, whose widest map is then neither written nor kept.
#pragma once

#include "epitaxy/ops/batch_norm.h"
#include "epitaxy/ops/pool2d.h"

namespace epitaxy {

/// (x [N,H,W,C], mean, inverse_std, gamma, beta) -> (y [N,P,Q,C], index uint8 [N,P,Q,C]): max_pool2d of ReLU of batch_norm_apply, with y
/// rounded once. index is the tap of the first largest fp32 value after the ReLU; NaN wins. In fp32 y and index
/// have the bits of the separate operations, and on a GPU so have the gradients. `training` as batch_norm_apply's.
OperationPtr batch_norm_max_pool2d(bool training, const Pool2dOptions& pool);
/// (x, dy [N,P,Q,C], index, mean, inverse_std, gamma, beta) -> (dgamma, dbeta): batch_norm_reduce of dy gathered through the index and
/// masked by the recomputed ReLU.
OperationPtr batch_norm_max_pool2d_reduce(const Pool2dOptions& pool);
/// (x, dy, index, mean, inverse_std, gamma, beta, dgamma, dbeta) -> dx; without the last two where not `training`.
OperationPtr batch_norm_max_pool2d_input_gradient(bool training, const Pool2dOptions& pool);

}  // namespace epitaxy
