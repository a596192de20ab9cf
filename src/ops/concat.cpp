#include "epitaxy/ops/concat.h"

#include "kernels/concat.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

std::int64_t row_bytes(const TensorSpec& spec) { return spec.shape[-1] * static_cast<std::int64_t>(size_of(spec.dtype)); }
std::int64_t rows_of(const TensorSpec& spec) { return spec.shape.count() / spec.shape[-1]; }

TensorSpec with_channels(TensorSpec spec, std::int64_t channels) {
  spec.shape.set(spec.shape.rank() - 1, channels);
  return spec;
}

class Concat final : public Operation {
 public:
  std::string name() const override { return "concat"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("concat", inputs.size(), 2, 2);
    const TensorSpec &a = inputs[0], &b = inputs[1];
    require(is_floating(a.dtype) && a.shape.rank() >= 2 && a.shape.count() > 0 && b.shape.count() > 0 && a.shape.rank() == b.shape.rank() &&
                with_channels(b, a.shape[-1]) == a,
            "concat: a and b must be floating [..., C], not empty, and agree in all but C, got ", a, " and ", b);
    return {with_channels(a, a.shape[-1] + b.shape[-1])};
  }
  void run(const Call& call) const override {
    const Tensor &a = call.inputs[0], &b = call.inputs[1];
    const ConcatArgs args{a.data(), b.data(), call.outputs[0].data(), rows_of(a.spec()), row_bytes(a.spec()), row_bytes(b.spec())};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { concat_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    const auto gradients = builder.emit(concat_gradient(builder.spec(builder.input(0)).shape[-1]), {builder.gradient(0)});
    for (int i = 0; i < 2; ++i)
      if (builder.wants(i)) builder.set(i, gradients[static_cast<std::size_t>(i)]);
  }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }  // a copy
};

class ConcatGradient final : public Operation {
 public:
  explicit ConcatGradient(std::int64_t first_channels) : first_channels_(first_channels) {
    require(first_channels > 0, "concat_gradient: first_channels must be positive, got ", first_channels);
  }
  std::string name() const override { return "concat_gradient"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("concat_gradient", inputs.size(), 1, 1);
    const TensorSpec& dy = inputs[0];
    require(is_floating(dy.dtype) && dy.shape.rank() >= 2 && dy.shape.count() > 0 && dy.shape[-1] > first_channels_,
            "concat_gradient: dy must be floating [..., C], not empty, with more than ", first_channels_, " channels, got ", dy);
    return {with_channels(dy, first_channels_), with_channels(dy, dy.shape[-1] - first_channels_)};
  }
  void run(const Call& call) const override {
    const Tensor &da = call.outputs[0], &db = call.outputs[1];
    const ConcatGradientArgs args{call.inputs[0].data(), da.data(),           db.data(), rows_of(da.spec()),
                                  row_bytes(da.spec()),  row_bytes(db.spec())};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { concat_backward<World>(args, stream); });
  }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }

 private:
  std::int64_t first_channels_;
};

}  // namespace

OperationPtr concat() { return std::make_shared<Concat>(); }
OperationPtr concat_gradient(std::int64_t first_channels) { return std::make_shared<ConcatGradient>(first_channels); }

}  // namespace epitaxy
