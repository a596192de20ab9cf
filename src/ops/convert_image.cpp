#include "epitaxy/ops/convert_image.h"

#include "kernels/convert_image.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class ConvertImage final : public Operation {
 public:
  explicit ConvertImage(DType to) : to_(to) {
    require(is_floating(to), "convert_image: to must be fp32, bf16 or fp16, got ", epitaxy::name(to));
  }
  std::string name() const override { return "convert_image"; }
  std::string details() const override { return "to " + std::string(epitaxy::name(to_)); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("convert_image", inputs.size(), 3, 3);
    const TensorSpec& x = inputs[0];
    require(x.dtype == DType::uint8 || x.dtype == DType::uint16 || x.dtype == DType::fp32,
            "convert_image: x must be uint8, uint16 or fp32, got ", x);
    require(x.shape.rank() >= 1 && x.shape[-1] >= 1, "convert_image: x must have channels, got ", x);
    for (const TensorSpec& one : inputs.subspan(1))
      require(one == TensorSpec{DType::fp32, {x.shape[-1]}}, "convert_image: mean and scale must be fp32 [", x.shape[-1],
              "], one number a channel of x ", x, "; got ", one);
    return {{to_, x.shape}};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const std::int64_t channels = x.dim(-1);
    const ConvertImageArgs args{
        x.data(), call.inputs[1].as<float>(), call.inputs[2].as<float>(), call.outputs[0].data(), x.count() / channels, channels, x.dtype(),
        to_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { convert_image_forward<World>(args, stream); });
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = 2.0 * static_cast<double>(inputs[0].shape.count());
    return cost;
  }

 private:
  DType to_;
};

}  // namespace

OperationPtr convert_image(DType to) { return std::make_shared<ConvertImage>(to); }

}  // namespace epitaxy
