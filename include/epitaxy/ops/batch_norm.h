// Batch normalisation (Ioffe & Szegedy 2015) in parts, so that each can be fused with its neighbours. Channels are the last
// dimension; a pixel is everything else. All statistics are fp32.
#pragma once

#include <optional>

#include "epitaxy/ops/activation.h"
#include "epitaxy/ops/operation.h"

namespace epitaxy {

struct BatchNormOptions {
  float epsilon = 1e-5f;
  float momentum = 0.1f;  // running = (1 - momentum) * running + momentum * batch, as PyTorch
};

/// What follows the normalisation in the same pass: a residual added, then an activation.
struct BatchNormEpilogue {
  Activation activation = Activation::none;  // none or relu
  bool add = false;
};

/// x [..., C] -> partials fp32 [tiles, 2, C]: mean and sum of squared deviations of each tile of pixels. The number of tiles depends on
/// the shape alone, and tile t holds pixels [t*size, min((t+1)*size, pixels)), size = ceil(pixels / tiles).
OperationPtr batch_norm_statistics();
/// (partials, running_mean [C], running_variance [C]) -> (mean [C], inverse_std [C], running_mean, running_variance): partials merged in
/// a fixed tree (Chan et al. 1979), variance biased for the batch and unbiased for the running value. `pixels` is the count behind them,
/// `tile_pixels` that of one tile: 0 as batch_norm_statistics cuts them, 128 as conv2d's epilogue does.
OperationPtr batch_norm_finalize(const BatchNormOptions& options, std::int64_t pixels, std::int64_t tile_pixels = 0);
/// (running_mean, running_variance) -> (mean, inverse_std): for evaluation.
OperationPtr batch_norm_inference(const BatchNormOptions& options);
/// (x, mean, inverse_std, gamma fp32 [C], beta fp32 [C][, residual]) -> y = activation((x - mean) * inverse_std * gamma + beta
/// [+ residual]), rounded once to x's dtype. residual has x's spec. `training`: mean and inverse_std are functions of x, and the gradient
/// rule says so (no other node passes it on). With relu, add and training there is a second output, mask uint8 [..., ceil(C/8)]: bit c % 8
/// of byte c / 8 says that y[..., c] > 0. The backward pass reads its 1/16 (16-bit x) of y's bytes instead of y; without a residual it
/// recomputes the mask from x, for nothing.
OperationPtr batch_norm_apply(bool training, BatchNormEpilogue epilogue = {});
/// (x, dy, mean, inverse_std) -> (dgamma fp32 [C], dbeta fp32 [C]), reduced over tiles in fixed order (workspace holds the partials).
/// relu without add: (x, dy, mean, inverse_std, gamma, beta), dy being masked by the recomputed y > 0. relu with add: (x, dy, mean,
/// inverse_std, mask) -> (dgamma, dbeta, dresidual = masked dy). add alone changes nothing: dy is the residual's gradient.
OperationPtr batch_norm_reduce(BatchNormEpilogue epilogue = {});
/// partials fp32 [tiles, 2, C] -> (dgamma [C], dbeta [C]): the sums that conv2d_input_gradient took of tiles, added in a fixed order.
OperationPtr batch_norm_reduce_tiles();
/// (x, dy, mean, inverse_std, gamma, dgamma, dbeta) -> dx = gamma*inverse_std*(dy - dbeta/m - xhat*dgamma/m), or without the last two
/// terms, and inputs, where not `training`. Activation::relu: one more input, beta, at the end; dy is masked by the recomputed y > 0.
/// (After relu with add, pass batch_norm_reduce's dresidual as dy, and Activation::none.)
OperationPtr batch_norm_input_gradient(bool training, Activation activation = Activation::none);

/// What an operation that batch_norm_finalize() made was given; null for any other. For fusion, as the next.
const BatchNormOptions* batch_norm_finalize_options(const Operation& operation);
struct BatchNormApplyOptions {
  bool training = true;
  BatchNormEpilogue epilogue;
};
/// What an operation that batch_norm_apply() made was given; nothing for any other.
std::optional<BatchNormApplyOptions> batch_norm_apply_options(const Operation& operation);
/// The epilogue of an operation that batch_norm_reduce() made; nothing for any other.
std::optional<BatchNormEpilogue> batch_norm_reduce_epilogue(const Operation& operation);
/// What an operation that batch_norm_input_gradient() made was given: `training` and the epilogue's activation; nothing for any other.
std::optional<BatchNormApplyOptions> batch_norm_input_gradient_options(const Operation& operation);

}  // namespace epitaxy
