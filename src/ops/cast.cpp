#include "epitaxy/ops/cast.h"

#include "kernels/cast.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class Cast final : public Operation {
 public:
  explicit Cast(DType to) : to_(to) { require(is_floating(to), "cast: to must be fp32, bf16 or fp16, got ", epitaxy::name(to)); }
  std::string name() const override { return "cast"; }
  std::string details() const override { return "to " + std::string(epitaxy::name(to_)); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("cast", inputs.size(), 1, 1);
    require(is_floating(inputs[0].dtype), "cast: x must be floating, got ", inputs[0]);
    return {{to_, inputs[0].shape}};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const CastArgs args{x.data(), call.outputs[0].data(), x.count(), x.dtype(), to_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { cast_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    builder.set(0, builder.emit(cast(builder.spec(builder.input(0)).dtype), {builder.gradient(0)})[0]);
  }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }

 private:
  DType to_;
};

class Reshape final : public Operation {
 public:
  explicit Reshape(Shape item) : item_(item) {}
  std::string name() const override { return "reshape"; }
  std::string details() const override { return text("to ", item_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("reshape", inputs.size(), 1, 1);
    const std::int64_t count = inputs[0].shape.count(), item = item_.count();
    require(inputs[0].shape.rank() >= 1 && item > 0 && count % item == 0, "reshape: x ", inputs[0], " does not divide into items of ",
            item_);
    return {{inputs[0].dtype, item_.prepend(count / item)}};
  }
  bool is_view() const override { return true; }
  /// A plan gives the output the input's memory, and nothing is left to do; elsewhere the values are copied.
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    if (x.data() != call.outputs[0].data()) call.context.backend->copy(call.outputs[0].data(), x.data(), x.bytes(), call.context.stream);
  }
  void differentiate(GradientBuilder& builder) const override {
    builder.set(0, builder.emit(reshape(builder.spec(builder.input(0)).shape.tail()), {builder.gradient(0)})[0]);
  }
  int in_place(int) const override { return 0; }
  Cost cost(std::span<const TensorSpec>) const override { return {}; }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }

 private:
  Shape item_;
};

}  // namespace

OperationPtr cast(DType to) { return std::make_shared<Cast>(to); }
OperationPtr reshape(Shape item) { return std::make_shared<Reshape>(item); }

}  // namespace epitaxy
