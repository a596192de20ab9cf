#include "epitaxy/ops/loss.h"

#include "kernels/loss.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

/// What the losses have in common: outputs (loss fp32 [1], gradient of input 0's spec), the second of which is input 0's gradient.
class Loss : public Operation {
 public:
  std::size_t workspace_bytes(std::span<const TensorSpec>, const Context&, const Prepared*) const override { return kLossWorkspace; }
  void differentiate(GradientBuilder& builder) const override { builder.set(0, builder.output(1)); }

 protected:
  static std::vector<TensorSpec> outputs_for(const TensorSpec& prediction) { return {{DType::fp32, {1}}, prediction}; }
};

class ElementwiseLoss final : public Loss {
 public:
  ElementwiseLoss(ElementLoss kind, float delta) : kind_(kind), delta_(delta) {
    require(delta > 0, "regression_loss: delta must be positive, got ", delta);
  }
  std::string name() const override { return kind_ == ElementLoss::binary_cross_entropy ? "binary_cross_entropy" : "regression_loss"; }
  std::string details() const override {
    switch (kind_) {
      case ElementLoss::squared: return "mean squared error";
      case ElementLoss::absolute: return "mean absolute error";
      case ElementLoss::huber: return text("huber, delta ", delta_);
      case ElementLoss::binary_cross_entropy: break;
    }
    return {};
  }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs(name().c_str(), inputs.size(), 2, 2);
    require(is_floating(inputs[0].dtype), name(), ": the prediction must be floating, got ", inputs[0]);
    require(inputs[1] == TensorSpec{DType::fp32, inputs[0].shape}, name(), ": the target must be fp32 and shaped as the prediction ",
            inputs[0], ", got ", inputs[1]);
    require(inputs[0].shape.count() > 0, name(), ": the batch is empty");
    return outputs_for(inputs[0]);
  }
  void run(const Call& call) const override {
    const Tensor& y = call.inputs[0];
    const ElementLossArgs args{y.data(),
                               call.inputs[1].as<float>(),
                               call.outputs[0].as<float>(),
                               call.outputs[1].data(),
                               call.workspace.data(),
                               y.count(),
                               y.dtype(),
                               kind_,
                               delta_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { element_loss<World>(args, stream); });
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = 4.0 * static_cast<double>(inputs[0].shape.count());
    return cost;
  }
  /// A few roundings an element, and the additions of one thread.
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    return {.factor = 4, .terms = 4 + static_cast<double>(inputs[0].shape.count()) / (kLossPartials * 256)};
  }

 private:
  ElementLoss kind_;
  float delta_;
};

std::int64_t rows_of(const TensorSpec& logits) { return logits.shape.count() / logits.shape[-1]; }

void require_classes(const char* operation, std::span<const TensorSpec> inputs) {
  const TensorSpec& logits = inputs[0];
  require(is_floating(logits.dtype) && logits.shape.rank() >= 2, operation, ": logits must be floating [N, C] or [N, H, W, C], got ",
          logits);
  require(logits.shape.count() > 0, operation, ": the batch is empty: ", logits);
  const TensorSpec target{DType::int32, Shape(logits.shape.dims().first(static_cast<std::size_t>(logits.shape.rank()) - 1))};
  require(inputs[1] == target, operation, ": the target of logits ", logits, " must be ", target, ", got ", inputs[1]);
}

class SoftmaxCrossEntropy final : public Loss {
 public:
  explicit SoftmaxCrossEntropy(float smoothing) : smoothing_(smoothing) {
    require(smoothing >= 0 && smoothing < 1, "softmax_cross_entropy: label smoothing must lie in [0, 1), got ", smoothing);
  }
  std::string name() const override { return "softmax_cross_entropy"; }
  std::string details() const override { return smoothing_ > 0 ? text("label smoothing ", smoothing_) : ""; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("softmax_cross_entropy", inputs.size(), 2, 3);
    require_classes("softmax_cross_entropy", inputs);
    if (inputs.size() == 3)
      require(inputs[2] == TensorSpec{DType::fp32, {inputs[0].shape[-1]}}, "softmax_cross_entropy: class weights must be fp32 [",
              inputs[0].shape[-1], "], got ", inputs[2]);
    return outputs_for(inputs[0]);
  }
  void run(const Call& call) const override {
    const Tensor& logits = call.inputs[0];
    const CrossEntropyArgs args{logits.data(),
                                call.inputs[1].as<std::int32_t>(),
                                call.inputs.size() == 3 ? call.inputs[2].as<float>() : nullptr,
                                call.outputs[0].as<float>(),
                                call.outputs[1].data(),
                                call.workspace.data(),
                                rows_of(logits.spec()),
                                logits.dim(-1),
                                logits.dtype(),
                                smoothing_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { epitaxy::softmax_cross_entropy<World>(args, stream); });
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = 6.0 * static_cast<double>(inputs[0].shape.count());
    return cost;
  }
  /// exp(d) carries d's rounding: |d| roundings, and a sum that lanes share.
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    return {.factor = 4,
            .terms = 16 + static_cast<double>(inputs[0].shape[-1]) / 32 + static_cast<double>(rows_of(inputs[0])) / kLossPartials};
  }

 private:
  float smoothing_;
};

class Accuracy final : public Operation {
 public:
  std::string name() const override { return "accuracy"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("accuracy", inputs.size(), 2, 2);
    require_classes("accuracy", inputs);
    return {{DType::fp32, {1}}};
  }
  std::size_t workspace_bytes(std::span<const TensorSpec>, const Context&, const Prepared*) const override { return kLossWorkspace; }
  void run(const Call& call) const override {
    const Tensor& logits = call.inputs[0];
    const AccuracyArgs args{logits.data(),
                            call.inputs[1].as<std::int32_t>(),
                            call.outputs[0].as<float>(),
                            call.workspace.data(),
                            rows_of(logits.spec()),
                            logits.dim(-1),
                            logits.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { epitaxy::accuracy<World>(args, stream); });
  }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }
};

ElementLoss element_kind(RegressionLoss kind) {
  switch (kind) {
    case RegressionLoss::mean_squared_error: return ElementLoss::squared;
    case RegressionLoss::mean_absolute_error: return ElementLoss::absolute;
    case RegressionLoss::huber: break;
  }
  return ElementLoss::huber;
}

}  // namespace

OperationPtr regression_loss(RegressionLoss kind, float delta) { return std::make_shared<ElementwiseLoss>(element_kind(kind), delta); }
OperationPtr softmax_cross_entropy(float label_smoothing) { return std::make_shared<SoftmaxCrossEntropy>(label_smoothing); }
OperationPtr binary_cross_entropy() { return std::make_shared<ElementwiseLoss>(ElementLoss::binary_cross_entropy, 1.0f); }
OperationPtr accuracy() { return std::make_shared<Accuracy>(); }

}  // namespace epitaxy
