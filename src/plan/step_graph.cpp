#include "plan/step_graph.h"

namespace epitaxy {

StepGraph step_graph(const Model& model, const CompileOptions& options, std::int64_t batch, bool training) {
  StepGraph step;
  if (training) {
    step.values = training_graph(model, options, batch);
    step.fixed = step.values.gradients;
  } else {
    FusedModel fused = fused_model(model, options, batch, false);
    step.values.built = std::move(fused.built);
    step.values.fusions = std::move(fused.fusions);
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
  require(!options.tune || options.tuning, "tuning needs a Tuning to keep its choices in");
  require(options.mean.size() == options.scale.size(), "normalisation: ", options.mean.size(), " means and ", options.scale.size(),
          " scales");
  require(options.mean.empty() || static_cast<std::int64_t>(options.mean.size()) == channels, "normalisation: ", options.mean.size(),
          " means for ", channels, " channels");
  const Shape& output = model.output_shape();
  require(output.rank() == 1 || output.rank() == 3, "a model ends in [outputs], or pixel by pixel in [H, W, classes]; ", model.name(),
          " ends in ", output);
  require(!options.training || output.rank() == 1 || is_classification(options.loss), "a model that ends in pixels, ", output,
          ", is trained with softmax_cross_entropy, not ", name(options.loss));
  require(options.class_weights.empty() || static_cast<std::int64_t>(options.class_weights.size()) == output[-1],
          options.class_weights.size(), " class weights for ", output[-1], " classes");
}

}  // namespace epitaxy
