// Optimizer steps over flat arrays: all parameters of a model lie in one fp32 array (master weights), all gradients in another, so one
// launch updates everything. Elements [0, decay_count) are weights, which decay; the rest (biases, normalisation) do not.
// A gradient_scale of 0 skips the step: parameters and moments stay, whatever the gradients are.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

struct SgdOptions {
  float momentum = 0.9f;
  bool nesterov = false;
  float weight_decay = 0.0f;  // added to the gradient, as PyTorch's SGD
  std::int64_t decay_count = 0;
  DType copy = DType::fp32;  // bf16 or fp16: also writes a rounded copy of the parameters
};

/// (parameters [M], gradients [M], velocity [M], learning_rate [1], gradient_scale [1]), all fp32
///   -> (parameters, velocity[, copy [M]]). v = momentum*v + g; p -= lr*v (Nesterov: lr*(g + momentum*v)). v starts at zero.
OperationPtr sgd(const SgdOptions& options);

struct AdamOptions {
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  float weight_decay = 0.0f;
  bool decoupled = false;  // AdamW (Loshchilov & Hutter 2019): p -= lr*weight_decay*p, not through the moments
  std::int64_t decay_count = 0;
  DType copy = DType::fp32;
};

/// (parameters [M], gradients [M], m [M], v [M], learning_rate [1], gradient_scale [1], step int64 [1]) -> (parameters, m, v[, copy]).
/// Kingma & Ba 2015; `step` counts from 0, so t = step + 1.
OperationPtr adam(const AdamOptions& options);

/// step int64 [1] -> step + 1.
OperationPtr advance_step();
/// gradients fp32 [M] -> (norm [1], scale [1] = min(1, maximum / (norm + 1e-6))): clipping by global norm as PyTorch. maximum > 0.
OperationPtr clip_by_global_norm(float maximum);

}  // namespace epitaxy
