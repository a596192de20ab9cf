// The graph of one training step or one prediction, and what a plan must know of its values.
#pragma once

#include "plan/training_graph.h"

namespace epitaxy {

struct StepGraph {
  TrainingGraph values;              // of a prediction only `built` is set
  std::vector<ValueId> fixed, kept;  // values that outlive the step; values that are read after it

  Graph& graph() { return values.built.graph; }
  const Graph& graph() const { return values.built.graph; }
  ValueId input() const { return values.built.input; }
  ValueId output() const { return values.built.output; }
  ValueId target() const { return values.target; }
};
StepGraph step_graph(const Model& model, const CompileOptions& options, std::int64_t batch, bool training);

/// Rejects options that do not fit the model.
void check_options(const Model& model, const CompileOptions& options);

}  // namespace epitaxy
