// The memory that outlives a step: parameters, gradients, moments, running statistics, scalars.
#pragma once

#include "plan/training_graph.h"

namespace epitaxy {

/// Everything that a compiled model keeps, cut from one buffer.
struct Persistent {
  Tensor parameters, copy, gradients, learning_rate, gradient_scale, loss_scale, finite_steps, augment_seed, epoch, step, ring, mean, scale,
      class_weights;
  std::vector<Tensor> moments, states;
};

/// What it takes, by kind.
MemorySummary persistent_sizes(const Model& model, const CompileOptions& options);
/// Cuts it from a buffer of persistent_sizes().total() bytes.
Persistent lay_out(const Model& model, const CompileOptions& options, const std::shared_ptr<Buffer>& buffer);

}  // namespace epitaxy
