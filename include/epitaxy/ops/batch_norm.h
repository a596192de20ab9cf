// Batch normalisation (Ioffe & Szegedy 2015) in parts, so that each can be fused with its neighbours. Channels are the last
// dimension; a pixel is everything else. All statistics are fp32.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

struct BatchNormOptions {
  float epsilon = 1e-5f;
  float momentum = 0.1f;  // running = (1 - momentum) * running + momentum * batch, as PyTorch
};

/// x [..., C] -> partials fp32 [tiles, 2, C]: mean and sum of squared deviations of each tile of pixels. The number of tiles depends on
/// the shape alone, and tile t holds pixels [t*size, min((t+1)*size, pixels)), size = ceil(pixels / tiles).
OperationPtr batch_norm_statistics();
/// (partials, running_mean [C], running_variance [C]) -> (mean [C], inverse_std [C], running_mean, running_variance): partials merged in
/// a fixed tree (Chan et al. 1979), variance biased for the batch and unbiased for the running value. `pixels` is the count behind them.
OperationPtr batch_norm_finalize(const BatchNormOptions& options, std::int64_t pixels);
/// (running_mean, running_variance) -> (mean, inverse_std): for evaluation.
OperationPtr batch_norm_inference(const BatchNormOptions& options);
/// (x, mean, inverse_std, gamma fp32 [C], beta fp32 [C]) -> y = (x - mean) * inverse_std * gamma + beta, rounded once to x's dtype.
/// `training`: mean and inverse_std are functions of x, and the gradient rule says so (no other node passes it on).
OperationPtr batch_norm_apply(bool training);
/// (x, dy, mean, inverse_std) -> (dgamma fp32 [C], dbeta fp32 [C]), reduced over tiles in fixed order (workspace holds the partials).
OperationPtr batch_norm_reduce();
/// (x, dy, mean, inverse_std, gamma, dgamma, dbeta) -> dx = gamma*inverse_std*(dy - dbeta/m - xhat*dgamma/m), or without the last two
/// terms where not `training`.
OperationPtr batch_norm_input_gradient(bool training);

}  // namespace epitaxy
