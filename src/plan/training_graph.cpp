#include "plan/training_graph.h"

#include <array>

#include "epitaxy/ops/cast.h"
#include "epitaxy/ops/loss.h"
#include "epitaxy/ops/loss_scale.h"
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

/// What the optimizer multiplies gradients by: clipping, and the inverse of the loss scale.
ValueId gradient_scale(Graph& graph, TrainingGraph& training, const CompileOptions& options) {
  const float clip = options.optimizer.clip_norm;
  if (!scales_loss(options.precision)) {
    training.gradient_scale = graph.add_value("gradient_scale", {DType::fp32, {1}}, Role::scalar);
    return clip > 0 ? graph.add(clip_by_global_norm(clip), {training.flat_gradients})[1] : training.gradient_scale;
  }
  const ValueId norm = graph.add(clip_by_global_norm(1.0f), {training.flat_gradients}, "gradient_norm")[0];
  return graph.add(update_loss_scale({.clip_norm = clip}), {norm, training.loss_scale, training.finite_steps}, {},
                   {kNoValue, training.loss_scale, training.finite_steps})[0];
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
  const Shape& output = model.output_shape();
  if (!is_classification(options.loss)) return {DType::fp32, output.prepend(batch)};
  return {DType::int32, output.rank() == 1 ? Shape{batch} : Shape{batch, output[0], output[1]}};
}

int moment_count(OptimizerKind kind) { return kind == OptimizerKind::sgd ? 1 : 2; }

FusedModel fused_model(const Model& model, const CompileOptions& options, std::int64_t batch, bool training) {
  FusedModel result;
  result.built =
      build(model, {batch, options.precision, training, options.seed, options.input_dtype, !options.mean.empty(), options.augmentation});
  const ValueId kept[] = {result.built.output};
  result.fusions = fuse(result.built.graph, options.fusion, kept, options.device);
  return result;
}

TrainingGraph training_graph(const Model& model, const CompileOptions& options, std::int64_t batch) {
  const auto parameters = model.parameters();
  const FlatLayout layout = flat_layout(parameters);
  const TensorSpec scalar{DType::fp32, {1}}, flat{DType::fp32, {layout.count}};

  TrainingGraph training;
  FusedModel fused = fused_model(model, options, batch, true);
  training.built = std::move(fused.built);
  training.fusions = std::move(fused.fusions);
  Graph& graph = training.built.graph;
  ValueId output = training.built.output;
  const ValueId step = training.built.step;
  training.target = graph.add_value("target", target_spec(model, options, batch), Role::target);
  if (scales_loss(options.precision)) {  // the loss in fp32, so that its gradient can be scaled before it is rounded
    training.loss_scale = graph.add_value("loss_scale", scalar, Role::scalar);
    training.finite_steps = graph.add_value("finite_steps", scalar, Role::scalar);
    output = graph.add(scale_gradient(), {graph.add(cast(DType::fp32), {output})[0], training.loss_scale})[0];
  }
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
  const auto backward = fuse_backward(graph, options.fusion, training.gradients, options.device);
  training.fusions.insert(training.fusions.end(), backward.begin(), backward.end());
  for (ValueId& gradient : training.gradients)
    if (graph.spec(gradient).dtype != DType::fp32) gradient = graph.add(cast(DType::fp32), {gradient})[0];

  training.flat_parameters = graph.add_value("parameters", flat, Role::state);
  training.flat_gradients = graph.add_value("gradients", flat, Role::state);
  training.learning_rate = graph.add_value("learning_rate", scalar, Role::scalar);
  for (int i = 0; i < moment_count(options.optimizer.kind); ++i)
    training.moments.push_back(graph.add_value("moment" + std::to_string(i + 1), flat, Role::state));
  const ValueId scale = gradient_scale(graph, training, options);

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
