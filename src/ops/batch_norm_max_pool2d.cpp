// Normalisation, ReLU and max pooling in one operation, and its backward operations.
#include "epitaxy/ops/batch_norm_max_pool2d.h"

#include <cmath>

#include "kernels/batch_norm_max_pool2d.h"
#include "kernels/reduce.h"
#include "ops/dispatch.h"
#include "ops/pool2d.h"

namespace epitaxy {

namespace {

constexpr std::array<const char*, 6> kChannelInputs{"mean", "inverse_std", "gamma", "beta", "dgamma", "dbeta"};

/// Checks x [N,H,W,C] and what follows from input `first` on: fp32 [C] each.
PoolShape checked_shape(const char* name, const Pool2dOptions& pool, std::span<const TensorSpec> inputs, std::size_t first,
                        std::size_t count) {
  require_inputs(name, inputs.size(), first + count, first + count);
  const TensorSpec& x = inputs[0];
  require(is_floating(x.dtype) && x.shape.rank() == 4 && x.shape.count() > 0, name,
          ": x must be a floating image [N, H, W, C], not empty, got ", x);
  require(x.shape.count() / x.shape[3] < (std::int64_t{1} << 31) - (1 << 20), name, ": ", x,
          " has more than 2^31 pixels: use a smaller batch");
  for (std::size_t i = 0; i < count; ++i)
    require(inputs[first + i] == TensorSpec{DType::fp32, {x.shape[3]}}, name, ": ", kChannelInputs[i], " must be fp32 [", x.shape[3],
            "], got ", inputs[first + i]);
  return pool_shape(name, pool, x.shape);
}

void check_gradients(const char* name, const PoolShape& a, std::span<const TensorSpec> inputs) {
  const Shape y{a.n, a.p, a.q, a.c};
  require(inputs[1] == TensorSpec{inputs[0].dtype, y}, name, ": dy must be ", TensorSpec{inputs[0].dtype, y}, ", got ", inputs[1]);
  require(inputs[2] == TensorSpec{DType::uint8, y}, name, ": index must be ", TensorSpec{DType::uint8, y}, ", got ", inputs[2]);
}

/// The arguments that all three have: x, and the four channel inputs from `first` on.
BatchNormMaxPool2dArgs common_args(const char* name, const Pool2dOptions& pool, const Call& call, std::size_t first) {
  const Tensor& x = call.inputs[0];
  BatchNormMaxPool2dArgs args{};
  args.x = x.data();
  args.mean = call.inputs[first].as<float>();
  args.inverse_std = call.inputs[first + 1].as<float>();
  args.gamma = call.inputs[first + 2].as<float>();
  args.beta = call.inputs[first + 3].as<float>();
  args.shape = pool_shape(name, pool, x.shape());
  args.dtype = x.dtype();
  if (first == 1) return args;
  args.dy = call.inputs[1].data();
  args.index = call.inputs[2].as<std::uint8_t>();
  return args;
}

class BatchNormMaxPool2d final : public Operation {
 public:
  BatchNormMaxPool2d(bool training, const Pool2dOptions& pool) : training_(training), pool_(pool) { check_pool_options(kName, pool, true); }
  std::string name() const override { return kName; }
  std::string details() const override { return "relu " + describe_pool(pool_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const PoolShape a = checked_shape(kName, pool_, inputs, 1, 4);
    const Shape y{a.n, a.p, a.q, a.c};
    return {{inputs[0].dtype, y}, {DType::uint8, y}};
  }
  void run(const Call& call) const override {
    BatchNormMaxPool2dArgs args = common_args(kName, pool_, call, 1);
    args.y = call.outputs[0].data();
    args.index = call.outputs[1].as<std::uint8_t>();
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { epitaxy::batch_norm_max_pool2d<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    std::vector<ValueId> inputs{builder.input(0), builder.gradient(0), builder.output(1)};
    for (int i = 1; i < 5; ++i) inputs.push_back(builder.input(i));
    if (builder.wants(3) || builder.wants(4) || (training_ && builder.wants(0))) {
      const auto sums = builder.emit(batch_norm_max_pool2d_reduce(pool_), inputs);
      for (int i = 0; i < 2; ++i)
        if (builder.wants(3 + i)) builder.set(3 + i, sums[static_cast<std::size_t>(i)]);
      if (training_) inputs.insert(inputs.end(), sums.begin(), sums.end());
    }
    if (builder.wants(0)) builder.set(0, builder.emit(batch_norm_max_pool2d_input_gradient(training_, pool_), inputs)[0]);
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = 4 * static_cast<double>(outputs(inputs)[0].shape.count() * pool_.kernel[0] * pool_.kernel[1]);
    return cost;
  }

 private:
  static constexpr const char* kName = "batch_norm_max_pool2d";
  bool training_;
  Pool2dOptions pool_;
};

class Reduce final : public Operation {
 public:
  explicit Reduce(const Pool2dOptions& pool) : pool_(pool) { check_pool_options(kName, pool, true); }
  std::string name() const override { return kName; }
  std::string details() const override { return "relu " + describe_pool(pool_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    check_gradients(kName, checked_shape(kName, pool_, inputs, 3, 4), inputs);
    return {inputs[3], inputs[3]};
  }
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context&, const Prepared*) const override {
    const std::int64_t channels = inputs[0].shape[3], pixels = inputs[0].shape.count() / channels;
    return TensorSpec{DType::fp32, {pixel_tiles(pixels).tiles, 2, channels}}.bytes();
  }
  void run(const Call& call) const override {
    BatchNormMaxPool2dArgs args = common_args(kName, pool_, call, 3);
    args.dgamma = call.outputs[0].as<float>();
    args.dbeta = call.outputs[1].as<float>();
    args.partials = static_cast<float*>(call.workspace.data());
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { epitaxy::batch_norm_max_pool2d_reduce<World>(args, stream); });
  }
  /// As batch_norm_reduce's; a gathered 16-bit gradient may round to its neighbour.
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    const std::int64_t pixels = inputs[0].shape.count() / inputs[0].shape[3];
    if (inputs[0].dtype == DType::fp32) return {.terms = 64 + 8 * std::sqrt(static_cast<double>(pixels))};
    return {.factor = 1, .terms = 1, .math_roundoff = unit_roundoff(inputs[0].dtype)};
  }

 private:
  static constexpr const char* kName = "batch_norm_max_pool2d_reduce";
  Pool2dOptions pool_;
};

class InputGradient final : public Operation {
 public:
  InputGradient(bool training, const Pool2dOptions& pool) : training_(training), pool_(pool) { check_pool_options(kName, pool, true); }
  std::string name() const override { return kName; }
  std::string details() const override { return "relu " + describe_pool(pool_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    check_gradients(kName, checked_shape(kName, pool_, inputs, 3, training_ ? 6 : 4), inputs);
    return {inputs[0]};
  }
  void run(const Call& call) const override {
    BatchNormMaxPool2dArgs args = common_args(kName, pool_, call, 3);
    if (training_) args.dgamma = call.inputs[7].as<float>(), args.dbeta = call.inputs[8].as<float>();
    args.dx = call.outputs[0].data();
    dispatch<CpuPath::fast>(call.context,
                            [&]<class World>(Stream stream) { epitaxy::batch_norm_max_pool2d_input_gradient<World>(args, stream); });
  }
  /// As batch_norm_input_gradient's; a gathered 16-bit gradient may round to its neighbour first.
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    if (inputs[0].dtype == DType::fp32) return {.terms = 8};
    return {.factor = 1, .terms = 2, .math_roundoff = unit_roundoff(inputs[0].dtype)};
  }

 private:
  static constexpr const char* kName = "batch_norm_max_pool2d_input_gradient";
  bool training_;
  Pool2dOptions pool_;
};

}  // namespace

OperationPtr batch_norm_max_pool2d(bool training, const Pool2dOptions& pool) {
  return std::make_shared<BatchNormMaxPool2d>(training, pool);
}
OperationPtr batch_norm_max_pool2d_reduce(const Pool2dOptions& pool) { return std::make_shared<Reduce>(pool); }
OperationPtr batch_norm_max_pool2d_input_gradient(bool training, const Pool2dOptions& pool) {
  return std::make_shared<InputGradient>(training, pool);
}

}  // namespace epitaxy
