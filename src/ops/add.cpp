#include "epitaxy/ops/add.h"

#include "kernels/add.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class Add final : public Operation {
 public:
  std::string name() const override { return "add"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("add", inputs.size(), 2, 2);
    require(inputs[0] == inputs[1] && is_floating(inputs[0].dtype), "add: a ", inputs[0], " and b ", inputs[1],
            " must be floating and of one type and shape");
    return {inputs[0]};
  }
  void run(const Call& call) const override {
    const Tensor& y = call.outputs[0];
    const AddArgs args{call.inputs[0].data(), call.inputs[1].data(), y.data(), y.count(), y.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { add_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    for (int i = 0; i < 2; ++i) builder.set(i, builder.gradient(0));
  }
  int in_place(int) const override { return 0; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = static_cast<double>(inputs[0].shape.count());
    return cost;
  }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }  // one rounding
};

}  // namespace

OperationPtr add() { return std::make_shared<Add>(); }

}  // namespace epitaxy
