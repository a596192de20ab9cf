// Weighted sums over the steps of sequences, each of its own length: their mean, and attention.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// (lengths int32 [N]) -> fp32 [N,steps]: 1 / length at a sequence's steps, 0 beyond: the weights of a mean. With `scores`:
/// (lengths, scores fp32 [N,steps]) -> their softmax over a sequence's steps, 0 beyond; its gradient is softmax's.
/// Lengths lie in [1, steps]; others are taken to the nearer bound.
OperationPtr sequence_weights(std::int64_t steps, bool scores);

/// (x floating [N,T,C], weights fp32 [N,T]) -> [N,C] of x's dtype: the sum over t of weights[n,t] x[n,t].
OperationPtr weighted_sum();
/// (x, weights, dy [N,C]) -> (dx = weights[n,t] dy[n], dweights[n,t] = dy[n] . x[n,t]).
OperationPtr weighted_sum_gradient();

}  // namespace epitaxy
