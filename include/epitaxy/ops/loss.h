// Losses: the mean over the batch, and the gradient with respect to the prediction computed in the same pass. An empty batch is rejected.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

enum class RegressionLoss : std::uint8_t { mean_squared_error, mean_absolute_error, huber };

/// (y [N,T], target fp32 [N,T]) -> (loss fp32 [1], gradient of y's spec). Means over N*T: (y-t)^2, |y-t|, or huber with `delta`:
/// 0.5 d^2 where |d| <= delta, else delta (|d| - delta/2). The sum is a fixed tree in fp32.
OperationPtr regression_loss(RegressionLoss kind, float delta = 1.0f);

/// (logits [N,C], target int32 [N] in [0,C), optional class weights fp32 [C]) -> (loss fp32 [1], gradient of logits' spec).
/// Weighted mean as PyTorch's cross_entropy: sum w[t_n] l_n / sum w[t_n]; with label smoothing s in [0,1): the target distribution is
/// (1-s) one-hot + s/C, each class's term weighted by its own weight. A target out of range gives a NaN loss and a NaN gradient of its row.
OperationPtr softmax_cross_entropy(float label_smoothing = 0.0f);

/// (logits [N,T], target fp32 [N,T] in [0,1]) -> (loss fp32 [1], gradient): mean of max(x,0) - x t + log(1 + exp(-|x|)).
OperationPtr binary_cross_entropy();

/// (logits [N,C], target int32 [N]) -> fp32 [1]: the fraction of rows whose first largest logit is the target's; a row with a NaN is wrong.
/// No gradient.
OperationPtr accuracy();

}  // namespace epitaxy
