#include "epitaxy/ops/pool2d.h"

#include "ops/dispatch.h"
#include "ops/pool2d.h"

namespace epitaxy {

PoolShape pool_shape(const char* operation, const Pool2dOptions& o, const Shape& image) {
  require(image.rank() == 4, operation, ": an image is [N, H, W, C], got ", image);
  const std::int64_t h = image[1] + o.padding[0] + o.padding[1], w = image[2] + o.padding[2] + o.padding[3];
  require(h >= o.kernel[0] && w >= o.kernel[1], operation, ": the window ", o.kernel[0], "x", o.kernel[1], " exceeds the padded image ", h,
          "x", w, " of ", image);
  require(image.tail().count() < (std::int64_t{1} << 31), operation, ": one image must have fewer than 2^31 elements, got ", image);
  return {image[0],
          image[1],
          image[2],
          image[3],
          (h - o.kernel[0]) / o.stride[0] + 1,
          (w - o.kernel[1]) / o.stride[1] + 1,
          static_cast<int>(o.kernel[0]),
          static_cast<int>(o.kernel[1]),
          static_cast<int>(o.stride[0]),
          static_cast<int>(o.stride[1]),
          static_cast<int>(o.padding[0]),
          static_cast<int>(o.padding[2])};
}

void check_pool_options(const char* operation, const Pool2dOptions& o, bool indexed) {
  constexpr std::int64_t kLargest = 1 << 20;
  for (int i = 0; i < 2; ++i) {
    require(o.kernel[i] >= 1 && o.kernel[i] <= kLargest, operation, ": the window must be at least 1x1, got ", o.kernel[0], "x",
            o.kernel[1]);
    require(o.stride[i] >= 1 && o.stride[i] <= kLargest, operation, ": strides must be at least 1, got ", o.stride[0], " and ",
            o.stride[1]);
    for (int j = 0; j < 2; ++j)
      require(o.padding[2 * i + j] >= 0 && o.padding[2 * i + j] < o.kernel[i], operation, ": padding must lie in [0, kernel), got ",
              o.padding[2 * i + j], " for a kernel of ", o.kernel[i]);
  }
  const std::int64_t most = indexed ? 256 : 1 << 24;
  require(o.kernel[0] * o.kernel[1] <= most, operation, ": a window has at most ", most, " elements, got ", o.kernel[0], "x", o.kernel[1]);
}

std::string describe_pool(const Pool2dOptions& o) {
  std::string result = text(o.kernel[0], "x", o.kernel[1], " stride ", o.stride[0], "x", o.stride[1]);
  if (o.padding != std::array<std::int64_t, 4>{})
    result += text(" padding ", o.padding[0], ",", o.padding[1], ",", o.padding[2], ",", o.padding[3]);
  return result;
}

namespace {

const TensorSpec& require_image(const char* operation, std::span<const TensorSpec> inputs, std::size_t count) {
  require_inputs(operation, inputs.size(), count, count);
  require(is_floating(inputs[0].dtype) && inputs[0].shape.rank() == 4, operation, ": expected a floating image [N, H, W, C], got ",
          inputs[0]);
  return inputs[0];
}

/// Forward pooling; `kMax` adds the index output.
template <bool kMax>
class Pool2d final : public Operation {
 public:
  Pool2d(const Pool2dOptions& options, bool exclude_padding) : options_(options), exclude_padding_(exclude_padding) {
    check_pool_options(kName, options, kMax);
  }
  const Pool2dOptions& options() const { return options_; }
  std::string name() const override { return kName; }
  std::string details() const override { return describe_pool(options_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const TensorSpec& x = require_image(kName, inputs, 1);
    const PoolShape a = pool_shape(kName, options_, x.shape);
    const TensorSpec y{x.dtype, {a.n, a.p, a.q, a.c}};
    if constexpr (kMax) return {y, {DType::uint8, y.shape}};
    return {y};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const Pool2dArgs args{
        x.data(),  call.outputs[0].data(), kMax ? call.outputs[1].as<std::uint8_t>() : nullptr, pool_shape(kName, options_, x.shape()),
        x.dtype(), exclude_padding_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) {
      if constexpr (kMax)
        max_pool2d_forward<World>(args, stream);
      else
        average_pool2d_forward<World>(args, stream);
    });
  }
  void differentiate(GradientBuilder& builder) const override {
    const Shape& x = builder.spec(builder.input(0)).shape;
    if constexpr (kMax)
      builder.set(0, builder.emit(max_pool2d_gradient(options_, x[1], x[2]), {builder.gradient(0), builder.output(1)})[0]);
    else
      builder.set(0, builder.emit(average_pool2d_gradient(options_, x[1], x[2], exclude_padding_), {builder.gradient(0)})[0]);
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = static_cast<double>(outputs(inputs)[0].shape.count() * options_.kernel[0] * options_.kernel[1]);
    return cost;
  }
  Tolerance tolerance(std::span<const TensorSpec>) const override {
    if constexpr (kMax) return {.factor = 0};
    return {.factor = 2,
            .terms = static_cast<double>(options_.kernel[0] * options_.kernel[1]),
            .magnitude = Tolerance::Magnitude::absolute_inputs};
  }

 private:
  static constexpr const char* kName = kMax ? "max_pool2d" : "average_pool2d";
  Pool2dOptions options_;
  bool exclude_padding_;
};

template <bool kMax>
class Pool2dGradient final : public Operation {
 public:
  Pool2dGradient(const Pool2dOptions& options, std::int64_t height, std::int64_t width, bool exclude_padding)
      : options_(options), height_(height), width_(width), exclude_padding_(exclude_padding) {
    check_pool_options(kName, options, kMax);
  }
  std::string name() const override { return kName; }
  std::string details() const override { return describe_pool(options_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const TensorSpec& dy = require_image(kName, inputs, kMax ? 2 : 1);
    const TensorSpec dx{dy.dtype, {dy.shape[0], height_, width_, dy.shape[3]}};
    const PoolShape a = pool_shape(kName, options_, dx.shape);
    require(dy.shape[1] == a.p && dy.shape[2] == a.q, kName, ": dy ", dy, " does not belong to an image ", height_, "x", width_,
            ", whose output is ", a.p, "x", a.q);
    if constexpr (kMax)
      require(inputs[1] == TensorSpec{DType::uint8, dy.shape}, kName, ": index ", inputs[1], " must be uint8 and shaped as dy ", dy);
    return {dx};
  }
  void run(const Call& call) const override {
    const Tensor& dy = call.inputs[0];
    const Tensor& dx = call.outputs[0];
    const Pool2dArgs args{
        dy.data(),  dx.data(),       kMax ? call.inputs[1].as<std::uint8_t>() : nullptr, pool_shape(kName, options_, dx.shape()),
        dy.dtype(), exclude_padding_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) {
      if constexpr (kMax)
        max_pool2d_backward<World>(args, stream);
      else
        average_pool2d_backward<World>(args, stream);
    });
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = static_cast<double>(inputs[0].shape.count() * options_.kernel[0] * options_.kernel[1]);
    return cost;
  }
  /// Linear in dy; an index is no number and its absolute value is itself.
  Tolerance tolerance(std::span<const TensorSpec>) const override {
    const std::int64_t windows = (options_.kernel[0] / options_.stride[0] + 1) * (options_.kernel[1] / options_.stride[1] + 1);
    return {.factor = 2, .terms = static_cast<double>(windows), .magnitude = Tolerance::Magnitude::absolute_inputs};
  }

 private:
  static constexpr const char* kName = kMax ? "max_pool2d_gradient" : "average_pool2d_gradient";
  Pool2dOptions options_;
  std::int64_t height_, width_;
  bool exclude_padding_;
};

class GlobalAveragePool final : public Operation {
 public:
  std::string name() const override { return "global_average_pool"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const TensorSpec& x = require_image("global_average_pool", inputs, 1);
    require(x.shape[1] * x.shape[2] > 0, "global_average_pool: the image is empty: ", x);
    return {{x.dtype, {x.shape[0], x.shape[3]}}};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const GlobalPoolArgs args{x.data(), call.outputs[0].data(), x.dim(0), x.dim(1) * x.dim(2), x.dim(3), x.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { global_average_pool_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    const Shape& x = builder.spec(builder.input(0)).shape;
    builder.set(0, builder.emit(global_average_pool_gradient(x[1], x[2]), {builder.gradient(0)})[0]);
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = static_cast<double>(inputs[0].shape.count());
    return cost;
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    return {.factor = 1,
            .terms = 4 + static_cast<double>(inputs[0].shape[1] * inputs[0].shape[2]),
            .magnitude = Tolerance::Magnitude::absolute_inputs};
  }
};

class GlobalAveragePoolGradient final : public Operation {
 public:
  GlobalAveragePoolGradient(std::int64_t height, std::int64_t width) : height_(height), width_(width) {
    require(height > 0 && width > 0, "global_average_pool_gradient: the image is empty: ", height, "x", width);
  }
  std::string name() const override { return "global_average_pool_gradient"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("global_average_pool_gradient", inputs.size(), 1, 1);
    const TensorSpec& dy = inputs[0];
    require(is_floating(dy.dtype) && dy.shape.rank() == 2, "global_average_pool_gradient: dy must be floating [N, C], got ", dy);
    return {{dy.dtype, {dy.shape[0], height_, width_, dy.shape[1]}}};
  }
  void run(const Call& call) const override {
    const Tensor& dy = call.inputs[0];
    const GlobalPoolArgs args{dy.data(), call.outputs[0].data(), dy.dim(0), height_ * width_, dy.dim(1), dy.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { global_average_pool_backward<World>(args, stream); });
  }

 private:
  std::int64_t height_, width_;
};

}  // namespace

OperationPtr max_pool2d(const Pool2dOptions& options) { return std::make_shared<Pool2d<true>>(options, false); }
const Pool2dOptions* max_pool2d_options(const Operation& operation) {
  const auto* pool = dynamic_cast<const Pool2d<true>*>(&operation);
  return pool ? &pool->options() : nullptr;
}
OperationPtr max_pool2d_gradient(const Pool2dOptions& options, std::int64_t height, std::int64_t width) {
  return std::make_shared<Pool2dGradient<true>>(options, height, width, false);
}
OperationPtr average_pool2d(const Pool2dOptions& options, bool exclude_padding) {
  return std::make_shared<Pool2d<false>>(options, exclude_padding);
}
OperationPtr average_pool2d_gradient(const Pool2dOptions& options, std::int64_t height, std::int64_t width, bool exclude_padding) {
  return std::make_shared<Pool2dGradient<false>>(options, height, width, exclude_padding);
}
OperationPtr global_average_pool() { return std::make_shared<GlobalAveragePool>(); }
OperationPtr global_average_pool_gradient(std::int64_t height, std::int64_t width) {
  return std::make_shared<GlobalAveragePoolGradient>(height, width);
}

}  // namespace epitaxy
