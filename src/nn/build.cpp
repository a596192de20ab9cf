// A model's layers become graph nodes for one batch size.
#include <algorithm>

#include "epitaxy/nn/model.h"
#include "epitaxy/ops/add.h"
#include "epitaxy/ops/batch_norm.h"
#include "epitaxy/ops/cast.h"
#include "epitaxy/ops/concat.h"
#include "epitaxy/ops/conv_transpose2d.h"
#include "epitaxy/ops/convert_image.h"
#include "epitaxy/ops/dense.h"
#include "epitaxy/ops/dropout.h"
#include "epitaxy/ops/rnn.h"
#include "epitaxy/ops/sequence_pool.h"
#include "epitaxy/ops/softmax.h"
#include "nn/layer_info.h"

namespace epitaxy {

namespace {

class Builder {
 public:
  Builder(const Model& model, const BuildOptions& options) : model_(model), options_(options) {}

  BuiltModel build() {
    require(options_.batch >= 1, "batch must be at least 1, got ", options_.batch);
    const Shape& item = model_.input_shape();
    Graph& graph = built_.graph;
    built_.input = graph.add_value("input", {options_.input_dtype, item.prepend(options_.batch)}, Role::input);
    built_.step = graph.add_value("step", {DType::int64, {1}}, Role::scalar);
    if (model_.lengths()) built_.lengths = graph.add_value("lengths", {DType::int32, {options_.batch}}, Role::input);
    ValueId x = built_.input;
    if (options_.training && options_.augmentation.any()) {
      built_.augment_seed = graph.add_value("augment_seed", {DType::int64, {1}}, Role::state);
      built_.epoch = graph.add_value("epoch", {DType::int64, {1}}, Role::scalar);
      built_.samples = graph.add_value("samples", {DType::int64, {options_.batch}}, Role::input);
      x = add_node(augment_images(options_.augmentation), {x, built_.augment_seed, built_.epoch, built_.samples})[0];
    }
    if (options_.normalise) {
      built_.mean = graph.add_value("mean", {DType::fp32, {item[-1]}}, Role::state);
      built_.scale = graph.add_value("scale", {DType::fp32, {item[-1]}}, Role::state);
      x = add_node(convert_image(storage(options_.precision)), {x, built_.mean, built_.scale})[0];
    } else {
      require(is_floating(options_.input_dtype), "a model that does not normalise takes floating input, got ", name(options_.input_dtype));
      if (options_.input_dtype != storage(options_.precision)) x = add_node(cast(storage(options_.precision)), {x})[0];
    }
    std::vector<ValueId> outputs{x};
    for (const auto& entry : model_.entries()) {
      entry_ = &entry;
      std::vector<ValueId> from;
      for (const auto id : entry.inputs) from.push_back(outputs[static_cast<std::size_t>(id)]);
      parameters_ = parameters_of(entry.layer, item_shape(entry.inputs[0]), entry.name);
      used_ = 0;
      outputs.push_back(std::visit([&](const auto& layer) { return lower(layer, from); }, entry.layer));
    }
    built_.output = model_.output_shape().rank() == 2 ? as_sequence(outputs.back()) : outputs.back();
    return std::move(built_);
  }

 private:
  const Shape& item_shape(Model::Id id) const { return model_.shape(id); }

  std::vector<ValueId> add_node(OperationPtr operation, std::vector<ValueId> inputs, std::vector<ValueId> bound = {}) {
    built_.node_entry.push_back(entry_ ? static_cast<int>(entry_ - model_.entries().data()) : -1);
    return built_.graph.add(std::move(operation), std::move(inputs), entry_ ? entry_->name : std::string(), std::move(bound));
  }

  /// The layer's next parameter: weights in the storage type, biases and normalisation in fp32.
  ValueId parameter() {
    const Parameter& p = parameters_[used_++];
    const DType dtype = p.decays() ? storage(options_.precision) : DType::fp32;
    built_.parameters.push_back(built_.graph.add_value(p.name, {dtype, p.shape}, Role::parameter));
    return built_.parameters.back();
  }

  ValueId state(const std::string& name, Shape shape) {
    built_.states.push_back(built_.graph.add_value(entry_->name + "." + name, {DType::fp32, shape}, Role::state));
    return built_.states.back();
  }

  /// Layers over sequences that are operations over images hand each other images of one row, [N,1,T,C]: nothing lies between them.
  ValueId as_image(ValueId x) {
    const Shape shape = built_.graph.spec(x).shape;
    return shape.rank() == 3 ? add_node(reshape(Shape{1, shape[1], shape[2]}), {x})[0] : x;
  }
  /// Of a value that stands for a sequence.
  ValueId as_sequence(ValueId x) {
    const Shape shape = built_.graph.spec(x).shape;
    return shape.rank() == 4 ? add_node(reshape(Shape{shape[2], shape[3]}), {x})[0] : x;
  }
  std::vector<ValueId> as_images(std::vector<ValueId> x) {
    for (ValueId& one : x) one = as_image(one);
    return x;
  }

  ValueId lower(const layers::Conv1d& layer, const std::vector<ValueId>& x) { return lower(as_conv2d(layer), {as_image(x[0])}); }
  ValueId lower(const layers::MaxPool1d& layer, const std::vector<ValueId>& x) { return lower(as_max_pool2d(layer), {as_image(x[0])}); }

  ValueId lower(const layers::Conv2d& layer, const std::vector<ValueId>& x) {
    Conv2dOptions options = layer.options;
    options.tf32 = options_.precision == Precision::tf32;
    std::vector<ValueId> inputs{x[0], parameter()};
    if (layer.bias) inputs.push_back(parameter());
    return add_node(conv2d(options), inputs)[0];
  }

  ValueId lower(const layers::ConvTranspose2d& layer, const std::vector<ValueId>& x) {
    std::vector<ValueId> inputs{x[0], parameter()};
    if (layer.bias) inputs.push_back(parameter());
    return add_node(conv_transpose2d({options_.precision == Precision::tf32}), inputs)[0];
  }

  ValueId lower(const layers::Dense& layer, const std::vector<ValueId>& x) {
    const bool relu = layer.activation == Activation::relu;
    std::vector<ValueId> inputs{x[0], parameter()};
    if (layer.bias) inputs.push_back(parameter());
    const ValueId y = add_node(dense({relu ? Activation::relu : Activation::none, options_.precision == Precision::tf32}), inputs)[0];
    return relu || layer.activation == Activation::none ? y : add_node(activation(layer.activation), {y})[0];
  }

  ValueId lower(const layers::BatchNorm& layer, const std::vector<ValueId>& x) {
    const Shape shape = built_.graph.spec(x[0]).shape;  // a copy: adding values moves them
    const Shape channels{shape[-1]};
    const BatchNormOptions options{layer.epsilon, layer.momentum};
    const ValueId gamma = parameter(), beta = parameter();
    const ValueId running_mean = state("running_mean", channels), running_variance = state("running_var", channels);
    std::vector<ValueId> statistics;
    if (options_.training) {
      const ValueId partials = add_node(batch_norm_statistics(), {x[0]})[0];
      statistics = add_node(batch_norm_finalize(options, shape.count() / shape[-1]), {partials, running_mean, running_variance},
                            {kNoValue, kNoValue, running_mean, running_variance});
    } else {
      statistics = add_node(batch_norm_inference(options), {running_mean, running_variance});
    }
    return add_node(batch_norm_apply(options_.training), {x[0], statistics[0], statistics[1], gamma, beta})[0];
  }

  ValueId lower(const layers::Activate& layer, const std::vector<ValueId>& x) {
    return add_node(activation(layer.kind, layer.slope), x)[0];
  }
  ValueId lower(const layers::MaxPool2d& layer, const std::vector<ValueId>& x) { return add_node(max_pool2d(layer.options), x)[0]; }
  ValueId lower(const layers::AveragePool2d& layer, const std::vector<ValueId>& x) {
    return add_node(average_pool2d(layer.options, layer.exclude_padding), x)[0];
  }
  ValueId lower(const layers::GlobalAveragePool&, const std::vector<ValueId>& x) {
    return item_shape(entry_->inputs[0]).rank() == 2 ? mean_of(x[0]) : add_node(global_average_pool(), x)[0];
  }
  ValueId lower(const layers::Flatten&, const std::vector<ValueId>& x) { return add_node(reshape(entry_->output), x)[0]; }
  ValueId lower(const layers::Dropout& layer, const std::vector<ValueId>& x) {
    if (!options_.training || layer.rate == 0) return x[0];
    const auto ordinal = static_cast<std::uint32_t>(entry_ - model_.entries().data());
    return add_node(dropout(layer.rate, options_.seed, ordinal), {x[0], built_.step})[0];
  }
  ValueId lower(const layers::Add&, const std::vector<ValueId>& x) { return add_node(epitaxy::add(), as_images(x))[0]; }
  ValueId lower(const layers::Concat&, const std::vector<ValueId>& x) { return add_node(concat(), as_images(x))[0]; }
  ValueId lower(const layers::Softmax& layer, const std::vector<ValueId>& x) { return add_node(softmax(layer.log), x)[0]; }

  /// The mean over a sequence's own steps.
  ValueId mean_of(ValueId x) {
    if (!model_.lengths()) return add_node(global_average_pool(), {as_image(x)})[0];
    const ValueId y = as_sequence(x);
    const std::int64_t steps = built_.graph.spec(y).shape[1];
    return add_node(weighted_sum(), {y, add_node(sequence_weights(steps, false), {built_.lengths})[0]})[0];
  }

  /// Additive attention; scores and weights in fp32.
  ValueId attend(ValueId y) {
    const TensorSpec spec = built_.graph.spec(y);  // [N, T, C]
    const DenseOptions options{Activation::none, options_.precision == Precision::tf32};
    ValueId x = add_node(reshape(Shape{spec.shape[2]}), {y})[0];
    const ValueId weight = parameter(), bias = parameter(), score = parameter();
    x = add_node(activation(Activation::tanh), {add_node(dense(options), {x, weight, bias})[0]})[0];
    x = add_node(reshape(Shape{spec.shape[1]}), {add_node(dense(options), {x, score})[0]})[0];
    if (spec.dtype != DType::fp32) x = add_node(cast(DType::fp32), {x})[0];
    const ValueId weights =
        model_.lengths() ? add_node(sequence_weights(spec.shape[1], true), {built_.lengths, x})[0] : add_node(softmax(), {x})[0];
    return add_node(weighted_sum(), {y, weights})[0];
  }

  /// One operation, or with dropout between the layers one for each, so that the masks are ours on every device.
  ValueId lower(const layers::Rnn& layer, const std::vector<ValueId>& from) {
    const bool drops = options_.training && layer.dropout > 0 && layer.layers > 1;
    const auto entry = static_cast<std::uint32_t>(entry_ - model_.entries().data());
    std::vector<ValueId> outputs{as_sequence(from[0])};
    for (std::int64_t done = 0; done < layer.layers;) {
      if (done > 0) {
        const std::uint32_t ordinal = entry | static_cast<std::uint32_t>(done) << 16;  // a mask of its own for every layer
        outputs[0] = add_node(dropout(layer.dropout, options_.seed, ordinal), {outputs[0], built_.step})[0];
      }
      RnnOptions options = rnn_options(layer, drops ? 1 : layer.layers);
      options.lengths = model_.lengths(), options.training = options_.training, options.tf32 = options_.precision == Precision::tf32;
      std::vector<ValueId> inputs{outputs[0]};
      if (options.lengths) inputs.push_back(built_.lengths);
      for (std::size_t i = 0; i < rnn_parameters(options, 1).size(); ++i) inputs.push_back(parameter());
      outputs = add_node(rnn(options), inputs);
      done += options.layers;
    }
    switch (layer.pool) {
      case layers::SequencePool::none: return outputs[0];
      case layers::SequencePool::last: return add_node(last_state(layer.bidirectional ? 2 : 1), {outputs[1]})[0];
      case layers::SequencePool::mean: return mean_of(outputs[0]);
      case layers::SequencePool::attention: return attend(outputs[0]);
    }
    reject("a sequence is pooled in none of the known ways");
  }

  const Model& model_;
  const BuildOptions& options_;
  BuiltModel built_;
  const Model::Entry* entry_ = nullptr;
  std::vector<Parameter> parameters_;
  std::size_t used_ = 0;
};

}  // namespace

BuiltModel build(const Model& model, const BuildOptions& options) { return Builder(model, options).build(); }

}  // namespace epitaxy
