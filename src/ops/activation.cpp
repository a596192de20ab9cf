#include "epitaxy/ops/activation.h"

#include <array>

#include "kernels/activation.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

constexpr std::array<std::string_view, 6> kNames{"none", "relu", "leaky_relu", "sigmoid", "tanh", "gelu"};

class ActivationForward final : public Operation {
 public:
  ActivationForward(Activation kind, float slope) : kind_(kind), slope_(slope) {
    require(slope >= 0 && slope < 1, "activation: slope must lie in [0, 1), got ", slope);
  }
  std::string name() const override { return std::string(epitaxy::name(kind_)); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("activation", inputs.size(), 1, 1);
    require(is_floating(inputs[0].dtype), "activation: x must be floating, got ", inputs[0]);
    return {inputs[0]};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const ActivationArgs args{x.data(), nullptr, call.outputs[0].data(), x.count(), x.dtype(), kind_, slope_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { activation_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    const ValueId saved = kind_ == Activation::gelu ? builder.input(0) : builder.output(0);
    builder.set(0, builder.emit(activation_gradient(kind_, slope_), {saved, builder.gradient(0)})[0]);
  }
  int in_place(int) const override { return 0; }
  Activation kind() const { return kind_; }

 private:
  Activation kind_;
  float slope_;
};

class ActivationBackward final : public Operation {
 public:
  ActivationBackward(Activation kind, float slope) : kind_(kind), slope_(slope) {}
  std::string name() const override { return std::string(epitaxy::name(kind_)) + "_gradient"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("activation_gradient", inputs.size(), 2, 2);
    require(inputs[0] == inputs[1] && is_floating(inputs[0].dtype), "activation_gradient: saved ", inputs[0], " and dy ", inputs[1],
            " must agree");
    return {inputs[1]};
  }
  void run(const Call& call) const override {
    const Tensor& dy = call.inputs[1];
    const ActivationArgs args{call.inputs[0].data(), dy.data(), call.outputs[0].data(), dy.count(), dy.dtype(), kind_, slope_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { activation_backward<World>(args, stream); });
  }
  int in_place(int) const override { return 1; }

 private:
  Activation kind_;
  float slope_;
};

}  // namespace

std::string_view name(Activation activation) { return kNames[static_cast<std::size_t>(activation)]; }

Activation parse_activation(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<Activation>(i);
  reject("unknown activation '", name, "': one of none, relu, leaky_relu, sigmoid, tanh, gelu");
}

OperationPtr activation(Activation kind, float slope) { return std::make_shared<ActivationForward>(kind, slope); }
OperationPtr activation_gradient(Activation kind, float slope) { return std::make_shared<ActivationBackward>(kind, slope); }
Activation activation_kind(const Operation& operation) {
  const auto* forward = dynamic_cast<const ActivationForward*>(&operation);
  return forward ? forward->kind() : Activation::none;
}

}  // namespace epitaxy
