#include "epitaxy/ops/sequence_pool.h"

#include "epitaxy/ops/softmax.h"
#include "kernels/sequence_pool.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class SequenceWeights final : public Operation {
 public:
  SequenceWeights(std::int64_t steps, bool scores) : steps_(steps), scores_(scores) {
    require(steps >= 1, "sequence_weights: steps must be at least 1, got ", steps);
  }
  std::string name() const override { return "sequence_weights"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const std::size_t count = scores_ ? 2 : 1;
    require_inputs("sequence_weights", inputs.size(), count, count);
    require(inputs[0].dtype == DType::int32 && inputs[0].shape.rank() == 1, "sequence_weights: lengths must be int32 [N], got ", inputs[0]);
    const TensorSpec weights{DType::fp32, {inputs[0].shape[0], steps_}};
    require(!scores_ || inputs[1] == weights, "sequence_weights: scores must be ", weights, ", got ", inputs.back());
    return {weights};
  }
  void run(const Call& call) const override {
    const Tensor& weights = call.outputs[0];
    const SequenceWeightsArgs args{call.inputs[0].as<std::int32_t>(), scores_ ? call.inputs[1].as<float>() : nullptr, weights.as<float>(),
                                   weights.dim(0), steps_};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { sequence_weights_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    if (scores_) builder.set(1, builder.emit(softmax_gradient(), {builder.output(0), builder.gradient(0)})[0]);
  }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 4, .terms = 4 + static_cast<double>(steps_) / 32}; }

 private:
  std::int64_t steps_;
  bool scores_;
};

/// Rejects anything but x [N,T,C] and its weights [N,T].
void require_weighted(const char* name, std::span<const TensorSpec> inputs) {
  const TensorSpec& x = inputs[0];
  require(is_floating(x.dtype) && x.shape.rank() == 3 && x.shape.count() > 0, name, ": x must be floating [N, T, C], not empty, got ", x);
  const TensorSpec weights{DType::fp32, {x.shape[0], x.shape[1]}};
  require(inputs[1] == weights, name, ": weights must be ", weights, ", got ", inputs[1]);
}

class WeightedSum final : public Operation {
 public:
  std::string name() const override { return "weighted_sum"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("weighted_sum", inputs.size(), 2, 2);
    require_weighted("weighted_sum", inputs);
    return {{inputs[0].dtype, {inputs[0].shape[0], inputs[0].shape[2]}}};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const WeightedSumArgs args{x.data(), call.inputs[1].as<float>(), call.outputs[0].data(), x.dim(0), x.dim(1), x.dim(2), x.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { weighted_sum_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    const auto gradients = builder.emit(weighted_sum_gradient(), {builder.input(0), builder.input(1), builder.gradient(0)});
    for (int i = 0; i < 2; ++i)
      if (builder.wants(i)) builder.set(i, gradients[static_cast<std::size_t>(i)]);
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    return {2.0 * static_cast<double>(inputs[0].shape.count()), Operation::cost(inputs).bytes};
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    return {.factor = 2, .terms = static_cast<double>(inputs[0].shape[1]), .magnitude = Tolerance::Magnitude::absolute_inputs};
  }
};

class WeightedSumGradient final : public Operation {
 public:
  std::string name() const override { return "weighted_sum_gradient"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("weighted_sum_gradient", inputs.size(), 3, 3);
    require_weighted("weighted_sum_gradient", inputs);
    const TensorSpec& x = inputs[0];
    const TensorSpec dy{x.dtype, {x.shape[0], x.shape[2]}};
    require(inputs[2] == dy, "weighted_sum_gradient: dy must be ", dy, ", got ", inputs[2]);
    return {x, inputs[1]};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const WeightedSumGradientArgs args{x.data(),
                                       call.inputs[1].as<float>(),
                                       call.inputs[2].data(),
                                       call.outputs[0].data(),
                                       call.outputs[1].as<float>(),
                                       x.dim(0),
                                       x.dim(1),
                                       x.dim(2),
                                       x.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { weighted_sum_backward<World>(args, stream); });
  }
  int in_place(int output) const override { return output == 0 ? 0 : -1; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    return {3.0 * static_cast<double>(inputs[0].shape.count()), Operation::cost(inputs).bytes};
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    return {.factor = 2, .terms = static_cast<double>(inputs[0].shape[2]), .magnitude = Tolerance::Magnitude::absolute_inputs};
  }
};

}  // namespace

OperationPtr sequence_weights(std::int64_t steps, bool scores) { return std::make_shared<SequenceWeights>(steps, scores); }
OperationPtr weighted_sum() { return std::make_shared<WeightedSum>(); }
OperationPtr weighted_sum_gradient() { return std::make_shared<WeightedSumGradient>(); }

}  // namespace epitaxy
