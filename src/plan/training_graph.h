// The graph of one whole training step: forward, loss, backward, clipping, optimizer, metrics.
#pragma once

#include "epitaxy/plan/compiled_model.h"

namespace epitaxy {

/// Where each parameter lies in the flat arrays, in elements: weights (which decay) first, each aligned to 64 elements.
struct FlatLayout {
  std::vector<std::int64_t> offsets;  // in the order of Model::parameters()
  std::int64_t decay_count = 0;       // elements before the first parameter that does not decay
  std::int64_t count = 0;             // a multiple of 64; gaps stay zero
};
FlatLayout flat_layout(const std::vector<Parameter>& parameters);

/// Rows of the metric ring: at most so many steps between two reads.
inline constexpr std::int64_t kRingRows = 256;

/// A model's forward graph, fused.
struct FusedModel {
  BuiltModel built;
  std::vector<FusedNode> fusions;
};
FusedModel fused_model(const Model& model, const CompileOptions& options, std::int64_t batch, bool training);

/// The values a step is fed with or keeps, beside those of the built model. kNoValue where a step has none.
struct TrainingGraph {
  BuiltModel built;
  std::vector<FusedNode> fusions;
  ValueId target = kNoValue, class_weights = kNoValue, loss = kNoValue;
  ValueId learning_rate = kNoValue, gradient_scale = kNoValue, ring = kNoValue;
  ValueId loss_scale = kNoValue, finite_steps = kNoValue;  // fp16
  ValueId flat_parameters = kNoValue, flat_gradients = kNoValue, flat_copy = kNoValue;
  std::vector<ValueId> moments;    // flat: velocity, or m and v
  std::vector<ValueId> gradients;  // per parameter, fp32
};

/// How the targets of a batch look: classes int32 [batch], of pixels int32 [batch, H, W], or values fp32 [batch, outputs].
TensorSpec target_spec(const Model& model, const CompileOptions& options, std::int64_t batch);
int moment_count(OptimizerKind kind);
/// fp16 gradients need dynamic loss scaling.
constexpr bool scales_loss(Precision precision) { return precision == Precision::fp16; }
TrainingGraph training_graph(const Model& model, const CompileOptions& options, std::int64_t batch);

}  // namespace epitaxy
