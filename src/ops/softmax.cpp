#include "epitaxy/ops/softmax.h"

#include "kernels/softmax.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

SoftmaxArgs arguments(const Tensor& x, const void* dy, const Tensor& y, bool log) {
  const std::int64_t columns = x.dim(-1);
  return {x.data(), dy, y.data(), columns ? x.count() / columns : 0, columns, x.dtype(), log};
}

/// An exponential and two roundings an element, and a sum that lanes share.
Tolerance row_tolerance(const TensorSpec& x) { return {.factor = 4, .terms = 4 + static_cast<double>(x.shape[-1]) / 32}; }

class Softmax final : public Operation {
 public:
  explicit Softmax(bool log) : log_(log) {}
  std::string name() const override { return log_ ? "log_softmax" : "softmax"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("softmax", inputs.size(), 1, 1);
    require(is_floating(inputs[0].dtype) && inputs[0].shape.rank() >= 1, "softmax: x must be floating with at least one dimension, got ",
            inputs[0]);
    return {inputs[0]};
  }
  void run(const Call& call) const override {
    const SoftmaxArgs args = arguments(call.inputs[0], nullptr, call.outputs[0], log_);
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { softmax_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    builder.set(0, builder.emit(softmax_gradient(log_), {builder.output(0), builder.gradient(0)})[0]);
  }
  int in_place(int) const override { return 0; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = 4.0 * static_cast<double>(inputs[0].shape.count());
    return cost;
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override { return row_tolerance(inputs[0]); }

 private:
  bool log_;
};

class SoftmaxGradient final : public Operation {
 public:
  explicit SoftmaxGradient(bool log) : log_(log) {}
  std::string name() const override { return log_ ? "log_softmax_gradient" : "softmax_gradient"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("softmax_gradient", inputs.size(), 2, 2);
    require(inputs[0] == inputs[1] && is_floating(inputs[0].dtype) && inputs[0].shape.rank() >= 1, "softmax_gradient: y ", inputs[0],
            " and dy ", inputs[1], " must be floating and agree");
    return {inputs[1]};
  }
  void run(const Call& call) const override {
    const SoftmaxArgs args = arguments(call.inputs[0], call.inputs[1].data(), call.outputs[0], log_);
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { softmax_backward<World>(args, stream); });
  }
  int in_place(int) const override { return 1; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = 4.0 * static_cast<double>(inputs[0].shape.count());
    return cost;
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override { return row_tolerance(inputs[0]); }

 private:
  bool log_;
};

}  // namespace

OperationPtr softmax(bool log) { return std::make_shared<Softmax>(log); }
OperationPtr softmax_gradient(bool log) { return std::make_shared<SoftmaxGradient>(log); }

}  // namespace epitaxy
