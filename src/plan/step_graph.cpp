#include "plan/step_graph.h"

namespace epitaxy {

StepGraph step_graph(const Model& model, const CompileOptions& options, std::int64_t batch, bool training) {
  StepGraph step;
  if (training) {
    step.values = training_graph(model, options, batch);
    step.fixed = step.values.gradients;
  } else {
    step.values.built = build(model, build_options(options, batch, false));
    step.kept = {step.output()};
  }
  const auto& values = step.graph().values();
  for (std::size_t id = 0; id < values.size(); ++id)
    if (const Role role = values[id].role; role == Role::parameter || role == Role::state || role == Role::scalar)
      step.fixed.push_back(static_cast<ValueId>(id));
  return step;
}

void check_options(const Model& model, const CompileOptions& options) {
  const std::int64_t channels = model.input_shape()[-1];
  require(options.mean.size() == options.scale.size(), "normalisation: ", options.mean.size(), " means and ", options.scale.size(),
          " scales");
  require(options.mean.empty() || static_cast<std::int64_t>(options.mean.size()) == channels, "normalisation: ", options.mean.size(),
          " means for ", channels, " channels");
  require(!(options.training && options.precision == Precision::fp16),
          "training in fp16 needs loss scaling, which Epitaxy lacks; use bf16");
  require(model.output_shape().rank() == 1, "a model to be trained ends in [outputs], got ", model.output_shape());
  require(options.class_weights.empty() || static_cast<std::int64_t>(options.class_weights.size()) == model.output_shape()[0],
          options.class_weights.size(), " class weights for ", model.output_shape()[0], " classes");
}

}  // namespace epitaxy
