// Losses: the mean over the batch, and the gradient with respect to the prediction computed in the same pass. An empty batch is rejected.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

enum class RegressionLoss : std::uint8_t { mean_squared_error, mean_absolute_error, huber };

/// (y [N,T], target fp32 [N,T]) -> (loss fp32 [1], gradient of y's spec). Means over N*T: (y-t)^2, |y-t|, or huber with `delta`:
/// 0.5 d^2 where |d| <= delta, else delta (|d| - delta/2). The sum is a fixed tree in fp32.
OperationPtr regression_loss(RegressionLoss kind, float delta = 1.0f);

/// (logits [N,C], target int32 [N]; or pixel by pixel, logits [N,H,W,C], target [N,H,W]; in [0,C), or -1 for one to be ignored; optional
/// class weights fp32 [C]) -> (loss fp32 [1], gradient of logits' spec). Weighted mean over the targets that count, as PyTorch's
/// cross_entropy: sum w[t_n] l_n / sum w[t_n]; 0 where none counts. With label smoothing s in [0,1): the target distribution is
/// (1-s) one-hot + s/C, each class's term weighted by its own weight. Any other target gives a NaN loss and a NaN gradient of its row.
OperationPtr softmax_cross_entropy(float label_smoothing = 0.0f);

/// (logits [N,T], target fp32 [N,T] in [0,1]) -> (loss fp32 [1], gradient): mean of max(x,0) - x t + log(1 + exp(-|x|)).
OperationPtr binary_cross_entropy();

/// (logits [N,C] or [N,H,W,C], target as above) -> fp32 [1]: of the targets that are not -1, the fraction whose class is the first largest
/// logit; a row with a NaN is wrong, and with no target it is 0. No gradient.
OperationPtr accuracy();

}  // namespace epitaxy
