// Dynamic loss scaling (Micikevicius et al. 2018, "Mixed precision training"): training in fp16 multiplies the loss's gradient by a factor
// that keeps small gradients representable, and divides it out before the optimizer.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// (x fp32, factor fp32 [1]) -> x * factor. No gradient.
OperationPtr scale();
/// (x fp32, factor fp32 [1]) -> x: a view, free. Gradient: dx = dy * factor. Stands between the prediction and its loss.
OperationPtr scale_gradient();

struct LossScaleOptions {  // the defaults are those of PyTorch's GradScaler
  float growth = 2.0f;     // > 1: factor after `interval` finite steps in a row
  float backoff = 0.5f;    // in (0, 1): factor after a step whose gradients are not finite
  std::int64_t interval = 2000;
  float clip_norm = 0.0f;  // clipping by global norm of the unscaled gradients, as clip_by_global_norm; 0: none
};
inline constexpr float kFirstLossScale = 65536.0f;

/// (norm [1] of the scaled gradients, loss_scale [1], finite_steps [1]), all fp32 -> (gradient_scale [1], loss_scale, finite_steps).
/// gradient_scale = 1 / loss_scale, times clipping, for the optimizer; 0 where the norm is infinite or NaN, which makes the optimizer skip
/// the step. The loss scale is multiplied by `growth` or `backoff` and stays within [2^-24, 2^24].
OperationPtr update_loss_scale(const LossScaleOptions& options);

}  // namespace epitaxy
