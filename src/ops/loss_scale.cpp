#include "epitaxy/ops/loss_scale.h"

#include "kernels/loss_scale.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

const TensorSpec kScalar{DType::fp32, {1}};

void require_scaled(const char* operation, std::span<const TensorSpec> inputs) {
  require_inputs(operation, inputs.size(), 2, 2);
  require(inputs[0].dtype == DType::fp32, operation, ": x must be fp32, got ", inputs[0]);
  require(inputs[1] == kScalar, operation, ": factor must be ", kScalar, ", got ", inputs[1]);
}

class Scale final : public Operation {
 public:
  std::string name() const override { return "scale"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_scaled("scale", inputs);
    return {inputs[0]};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const ScaleArgs args{x.as<float>(), call.inputs[1].as<float>(), call.outputs[0].as<float>(), x.count()};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { epitaxy::scale<World>(args, stream); });
  }
  int in_place(int) const override { return 0; }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }
};

class ScaleGradient final : public Operation {
 public:
  std::string name() const override { return "scale_gradient"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_scaled("scale_gradient", inputs);
    return {inputs[0]};
  }
  bool is_view() const override { return true; }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    if (x.data() != call.outputs[0].data()) call.context.backend->copy(call.outputs[0].data(), x.data(), x.bytes(), call.context.stream);
  }
  void differentiate(GradientBuilder& builder) const override {
    builder.set(0, builder.emit(scale(), {builder.gradient(0), builder.input(1)})[0]);
  }
  int in_place(int) const override { return 0; }
  Cost cost(std::span<const TensorSpec>) const override { return {}; }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }
};

class UpdateLossScale final : public Operation {
 public:
  explicit UpdateLossScale(const LossScaleOptions& options) : options_(options) {
    require(options.growth > 1, "update_loss_scale: growth must be above 1, got ", options.growth);
    require(options.backoff > 0 && options.backoff < 1, "update_loss_scale: backoff must lie in (0, 1), got ", options.backoff);
    require(options.interval >= 1 && options.interval <= 1 << 24, "update_loss_scale: interval must lie in 1..2^24, got ",
            options.interval);
    require(options.clip_norm >= 0, "update_loss_scale: clip_norm must not be negative, got ", options.clip_norm);
  }
  std::string name() const override { return "update_loss_scale"; }
  std::string details() const override { return options_.clip_norm > 0 ? text("clip norm ", options_.clip_norm) : ""; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("update_loss_scale", inputs.size(), 3, 3);
    for (const auto& input : inputs) require(input == kScalar, "update_loss_scale: all inputs must be ", kScalar, ", got ", input);
    return {kScalar, kScalar, kScalar};
  }
  void run(const Call& call) const override {
    const auto in = [&](std::size_t i) { return call.inputs[i].as<float>(); };
    const auto out = [&](std::size_t i) { return call.outputs[i].as<float>(); };
    const UpdateLossScaleArgs args{in(0), in(1), in(2), out(0), out(1), out(2), options_};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { epitaxy::update_loss_scale<World>(args, stream); });
  }
  int in_place(int output) const override { return output; }

 private:
  LossScaleOptions options_;
};

}  // namespace

OperationPtr scale() { return std::make_shared<Scale>(); }
OperationPtr scale_gradient() { return std::make_shared<ScaleGradient>(); }
OperationPtr update_loss_scale(const LossScaleOptions& options) { return std::make_shared<UpdateLossScale>(options); }

}  // namespace epitaxy
