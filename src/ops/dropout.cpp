#include "epitaxy/ops/dropout.h"

#include "kernels/dropout.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class Dropout final : public Operation {
 public:
  Dropout(float rate, std::uint64_t seed, std::uint32_t ordinal) : rate_(rate), seed_(seed), ordinal_(ordinal) {
    require(rate >= 0 && rate < 1, "dropout: rate must lie in [0, 1), got ", rate);
    require(ordinal < (1u << 24), "dropout: the layer's ordinal must be below 2^24, got ", ordinal);
  }
  std::string name() const override { return "dropout"; }
  std::string details() const override { return text("rate ", rate_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("dropout", inputs.size(), 2, 2);
    require(is_floating(inputs[0].dtype), "dropout: x must be floating, got ", inputs[0]);
    require(inputs[1] == TensorSpec{DType::int64, {1}}, "dropout: step must be int64 [1], got ", inputs[1]);
    return {inputs[0]};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const DropoutArgs args{x.data(), call.inputs[1].as<std::int64_t>(), call.outputs[0].data(), x.count(), x.dtype(), rate_, seed_,
                           ordinal_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { dropout_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    builder.set(0, builder.emit(dropout(rate_, seed_, ordinal_), {builder.gradient(0), builder.input(1)})[0]);
  }
  int in_place(int) const override { return 0; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = static_cast<double>(inputs[0].shape.count());
    return cost;
  }

 private:
  float rate_;
  std::uint64_t seed_;
  std::uint32_t ordinal_;
};

}  // namespace

OperationPtr dropout(float rate, std::uint64_t seed, std::uint32_t ordinal) { return std::make_shared<Dropout>(rate, seed, ordinal); }

}  // namespace epitaxy
