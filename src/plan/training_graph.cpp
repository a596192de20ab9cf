#include "plan/training_graph.h"

#include <array>

#include "epitaxy/ops/cast.h"
#include "epitaxy/ops/loss.h"
#include "epitaxy/ops/record_metrics.h"

namespace epitaxy {

namespace {

constexpr std::array<std::string_view, 5> kLosses{"softmax_cross_entropy", "binary_cross_entropy", "mean_squared_error",
                                                  "mean_absolute_error", "huber"};

OperationPtr loss_operation(const CompileOptions& options) {
  switch (options.loss) {
    case LossKind::softmax_cross_entropy: return softmax_cross_entropy(options.label_smoothing);
    case LossKind::binary_cross_entropy: return binary_cross_entropy();
    case LossKind::mean_squared_error: return regression_loss(RegressionLoss::mean_squared_error);
    case LossKind::mean_absolute_error: return regression_loss(RegressionLoss::mean_absolute_error);
    case LossKind::huber: return regression_loss(RegressionLoss::huber, options.huber_delta);
  }
  return {};
}

OperationPtr optimizer_operation(const CompileOptions& options, std::int64_t decay_count) {
  const OptimizerOptions& o = options.optimizer;
  const DType copy = storage(options.precision);
  if (o.kind == OptimizerKind::sgd) return sgd({o.momentum, o.nesterov, o.weight_decay, decay_count, copy});
  return adam({o.beta1, o.beta2, o.epsilon, o.weight_decay, o.kind == OptimizerKind::adamw, decay_count, copy});
}

}  // namespace

std::string_view name(LossKind kind) { return kLosses[static_cast<std::size_t>(kind)]; }

LossKind parse_loss(std::string_view name) {
  for (std::size_t i = 0; i < kLosses.size(); ++i)
    if (kLosses[i] == name) return static_cast<LossKind>(i);
  reject("unknown loss '", name, "': one of softmax_cross_entropy, binary_cross_entropy, mean_squared_error, mean_absolute_error, huber");
}

FlatLayout flat_layout(const std::vector<Parameter>& parameters) {
  FlatLayout layout;
  layout.offsets.resize(parameters.size());
  for (const bool decays : {true, false}) {
    for (std::size_t i = 0; i < parameters.size(); ++i)
      if (parameters[i].decays() == decays) {
        layout.offsets[i] = layout.count;
        layout.count += (parameters[i].shape.count() + 63) / 64 * 64;
      }
    if (decays) layout.decay_count = layout.count;
  }
  return layout;
}

TensorSpec target_spec(const Model& model, const CompileOptions& options, std::int64_t batch) {
  if (is_classification(options.loss)) return {DType::int32, {batch}};
  return {DType::fp32, model.output_shape().prepend(batch)};
}

int moment_count(OptimizerKind kind) { return kind == OptimizerKind::sgd ? 1 : 2; }

BuildOptions build_options(const CompileOptions& options, std::int64_t batch, bool training) {
  return {batch, options.precision, training, options.seed, options.input_dtype, !options.mean.empty()};
}

TrainingGraph training_graph(const Model& model, const CompileOptions& options, std::int64_t batch) {
  const auto parameters = model.parameters();
  const FlatLayout layout = flat_layout(parameters);
  const TensorSpec scalar{DType::fp32, {1}}, flat{DType::fp32, {layout.count}};

  TrainingGraph training;
  training.built = build(model, build_options(options, batch, true));
  Graph& graph = training.built.graph;
  const ValueId output = training.built.output, step = training.built.step;
  training.target = graph.add_value("target", target_spec(model, options, batch), Role::target);
  std::vector<ValueId> loss_inputs{output, training.target};
  if (!options.class_weights.empty()) {
    training.class_weights =
        graph.add_value("class_weights", {DType::fp32, {static_cast<std::int64_t>(options.class_weights.size())}}, Role::state);
    loss_inputs.push_back(training.class_weights);
  }
  training.loss = graph.add(loss_operation(options), loss_inputs)[0];
  const OperationPtr metric_operation = is_classification(options.loss) ? accuracy() : regression_loss(RegressionLoss::mean_absolute_error);
  const ValueId metric = graph.add(metric_operation, {output, training.target}, "metric")[0];

  training.gradients = differentiate(graph, training.loss, training.built.parameters);
  for (ValueId& gradient : training.gradients)
    if (graph.spec(gradient).dtype != DType::fp32) gradient = graph.add(cast(DType::fp32), {gradient})[0];

  training.flat_parameters = graph.add_value("parameters", flat, Role::state);
  training.flat_gradients = graph.add_value("gradients", flat, Role::state);
  training.learning_rate = graph.add_value("learning_rate", scalar, Role::scalar);
  for (int i = 0; i < moment_count(options.optimizer.kind); ++i)
    training.moments.push_back(graph.add_value("moment" + std::to_string(i + 1), flat, Role::state));
  ValueId scale = training.gradient_scale = graph.add_value("gradient_scale", scalar, Role::scalar);
  if (options.optimizer.clip_norm > 0) scale = graph.add(clip_by_global_norm(options.optimizer.clip_norm), {training.flat_gradients})[1];

  std::vector<ValueId> inputs{training.flat_parameters, training.flat_gradients}, bound{training.flat_parameters};
  inputs.insert(inputs.end(), training.moments.begin(), training.moments.end());
  bound.insert(bound.end(), training.moments.begin(), training.moments.end());
  inputs.push_back(training.learning_rate);
  inputs.push_back(scale);
  if (options.optimizer.kind != OptimizerKind::sgd) inputs.push_back(step);
  if (storage(options.precision) != DType::fp32)
    bound.push_back(training.flat_copy = graph.add_value("parameters_copy", {storage(options.precision), {layout.count}}, Role::state));
  graph.add(optimizer_operation(options, layout.decay_count), inputs, {}, bound);

  training.ring = graph.add_value("metric_ring", {DType::fp32, {kRingRows, 2}}, Role::state);
  graph.add(record_metrics(), {training.ring, step, training.loss, metric}, {}, {training.ring});
  graph.add(advance_step(), {step}, {}, {step});
  return training;
}

}  // namespace epitaxy
