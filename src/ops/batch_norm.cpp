#include "epitaxy/ops/batch_norm.h"

#include <cmath>

#include "kernels/batch_norm.h"
#include "kernels/reduce.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

std::int64_t channels_of(const TensorSpec& x) { return x.shape[-1]; }
std::int64_t pixels_of(const TensorSpec& x) { return x.shape.count() / x.shape[-1]; }

void require_image(const char* operation, const TensorSpec& x) {
  require(is_floating(x.dtype) && x.shape.rank() >= 2 && x.shape.count() > 0, operation,
          ": x must be floating [..., C] and not empty, got ", x);
}

void require_channels(const char* operation, const char* what, const TensorSpec& spec, std::int64_t channels) {
  require(spec == TensorSpec{DType::fp32, {channels}}, operation, ": ", what, " must be fp32 [", channels, "], got ", spec);
}

TensorSpec partials_spec(const TensorSpec& x) { return {DType::fp32, {pixel_tiles(pixels_of(x)).tiles, 2, channels_of(x)}}; }

TensorSpec mask_spec(const TensorSpec& x) {
  TensorSpec mask{DType::uint8, x.shape};
  mask.shape.set(x.shape.rank() - 1, mask_bytes(channels_of(x)));
  return mask;
}

void require_epilogue(Activation activation) {
  require(activation == Activation::none || activation == Activation::relu, "batch_norm: the fused activation is none or relu, not ",
          name(activation));
}

/// Rounding of a sum over the pixels, whose terms largely cancel: it grows as the root of their number against the largest sum.
double cancelling_terms(const TensorSpec& x) { return 64 + 8 * std::sqrt(static_cast<double>(pixels_of(x))); }

/// Scratch of partials [tiles, 2, C] that a GPU merges twice.
std::size_t grouped_bytes(const TensorSpec& partials, const Context& context) {
  const TileGroups groups = tile_groups(partials.shape[0]);
  if (groups.group == 1 || context.device().kind == DeviceKind::cpu) return 0;
  return TensorSpec{DType::fp32, {groups.tiles, 2, partials.shape[2]}}.bytes();
}

class Statistics final : public Operation {
 public:
  std::string name() const override { return "batch_norm_statistics"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("batch_norm_statistics", inputs.size(), 1, 1);
    require_image("batch_norm_statistics", inputs[0]);
    return {partials_spec(inputs[0])};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const BatchNormStatisticsArgs args{x.data(), call.outputs[0].as<float>(), pixels_of(x.spec()), channels_of(x.spec()), x.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { batch_norm_statistics<World>(args, stream); });
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    return {.terms = static_cast<double>(pixel_tiles(pixels_of(inputs[0])).size)};
  }
};

class Finalize final : public Operation {
 public:
  Finalize(const BatchNormOptions& options, std::int64_t pixels, std::int64_t tile_pixels)
      : options_(options), pixels_(pixels), tile_pixels_(tile_pixels) {
    require(options.epsilon > 0, "batch_norm: epsilon must be positive, got ", options.epsilon);
    require(options.momentum >= 0 && options.momentum <= 1, "batch_norm: momentum must lie in [0, 1], got ", options.momentum);
    require(pixels >= 1, "batch_norm_finalize: pixels must be positive, got ", pixels);
    require(tile_pixels >= 0, "batch_norm_finalize: tile_pixels must not be negative, got ", tile_pixels);
  }
  const BatchNormOptions& options() const { return options_; }
  std::string name() const override { return "batch_norm_finalize"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("batch_norm_finalize", inputs.size(), 3, 3);
    const TensorSpec& partials = inputs[0];
    require(partials.dtype == DType::fp32 && partials.shape.rank() == 3 && partials.shape[1] == 2 && partials.shape[0] >= 1 &&
                partials.shape[0] <= pixels_,
            "batch_norm_finalize: partials must be fp32 [tiles, 2, C] with at most ", pixels_, " tiles, got ", partials);
    const std::int64_t size = tile_pixels(partials);
    require(partials.shape[0] * size >= pixels_, "batch_norm_finalize: ", partials.shape[0], " tiles of ", size, " pixels do not hold ",
            pixels_, " pixels");
    require_channels("batch_norm_finalize", "running_mean", inputs[1], partials.shape[2]);
    require_channels("batch_norm_finalize", "running_variance", inputs[2], partials.shape[2]);
    return std::vector<TensorSpec>(4, inputs[1]);
  }
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context& context, const Prepared*) const override {
    return grouped_bytes(inputs[0], context);
  }
  void run(const Call& call) const override {
    const Tensor& partials = call.inputs[0];
    const BatchNormFinalizeArgs args{partials.as<float>(),
                                     call.inputs[1].as<float>(),
                                     call.inputs[2].as<float>(),
                                     call.outputs[0].as<float>(),
                                     call.outputs[1].as<float>(),
                                     call.outputs[2].as<float>(),
                                     call.outputs[3].as<float>(),
                                     partials.dim(0),
                                     tile_pixels(partials.spec()),
                                     pixels_,
                                     partials.dim(2),
                                     static_cast<float*>(call.workspace.data()),
                                     options_.epsilon,
                                     options_.momentum};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { batch_norm_finalize<World>(args, stream); });
  }
  int in_place(int output) const override { return output >= 2 ? output - 1 : -1; }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    return {.terms = 4 + std::sqrt(static_cast<double>(inputs[0].shape[0]))};
  }

 private:
  std::int64_t tile_pixels(const TensorSpec& partials) const {
    return tile_pixels_ ? tile_pixels_ : (pixels_ + partials.shape[0] - 1) / partials.shape[0];
  }

  BatchNormOptions options_;
  std::int64_t pixels_, tile_pixels_;
};

class Inference final : public Operation {
 public:
  explicit Inference(const BatchNormOptions& options) : options_(options) {
    require(options.epsilon > 0, "batch_norm: epsilon must be positive, got ", options.epsilon);
  }
  std::string name() const override { return "batch_norm_inference"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("batch_norm_inference", inputs.size(), 2, 2);
    require(inputs[0].shape.rank() == 1, "batch_norm_inference: running_mean must be fp32 [C], got ", inputs[0]);
    require_channels("batch_norm_inference", "running_mean", inputs[0], inputs[0].shape[0]);
    require_channels("batch_norm_inference", "running_variance", inputs[1], inputs[0].shape[0]);
    return {inputs[0], inputs[0]};
  }
  void run(const Call& call) const override {
    const BatchNormInferenceArgs args{call.inputs[0].as<float>(),  call.inputs[1].as<float>(), call.outputs[0].as<float>(),
                                      call.outputs[1].as<float>(), call.inputs[0].count(),     options_.epsilon};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { batch_norm_inference<World>(args, stream); });
  }

 private:
  BatchNormOptions options_;
};

class Apply final : public Operation {
 public:
  Apply(bool training, BatchNormEpilogue epilogue) : training_(training), epilogue_(epilogue) { require_epilogue(epilogue.activation); }
  BatchNormApplyOptions options() const { return {training_, epilogue_}; }
  std::string name() const override { return "batch_norm_apply"; }
  std::string details() const override {
    return text(relu() ? "relu" : "", relu() && epilogue_.add ? " " : "", epilogue_.add ? "add" : "");
  }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const std::size_t count = epilogue_.add ? 6 : 5;
    require_inputs("batch_norm_apply", inputs.size(), count, count);
    const TensorSpec& x = inputs[0];
    require_image("batch_norm_apply", x);
    constexpr const char* kNames[]{"mean", "inverse_std", "gamma", "beta"};
    for (std::size_t i = 1; i < 5; ++i) require_channels("batch_norm_apply", kNames[i - 1], inputs[i], channels_of(x));
    if (epilogue_.add) require(inputs[5] == x, "batch_norm_apply: x ", x, " and residual ", inputs[5], " must agree");
    if (!has_mask()) return {x};
    return {x, mask_spec(x)};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const BatchNormApplyArgs args{x.data(),
                                  call.inputs[1].as<float>(),
                                  call.inputs[2].as<float>(),
                                  call.inputs[3].as<float>(),
                                  call.inputs[4].as<float>(),
                                  epilogue_.add ? call.inputs[5].data() : nullptr,
                                  call.outputs[0].data(),
                                  has_mask() ? call.outputs[1].as<std::uint8_t>() : nullptr,
                                  pixels_of(x.spec()),
                                  channels_of(x.spec()),
                                  x.dtype(),
                                  relu()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { batch_norm_apply<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    const ValueId x = builder.input(0), mean = builder.input(1), inverse_std = builder.input(2), gamma = builder.input(3),
                  beta = builder.input(4);
    ValueId dy = builder.gradient(0);
    BatchNormEpilogue backward;  // what the backward nodes still have to do
    if (relu() && epilogue_.add && !training_)
      dy = builder.emit(activation_gradient(Activation::relu), {builder.output(0), dy})[0];
    else if (relu())
      backward = epilogue_;
    const bool recompute = backward.activation == Activation::relu && !backward.add;
    const bool needs_sums = builder.wants(3) || builder.wants(4) || (training_ && builder.wants(0)) || has_mask();
    std::vector<ValueId> sums{kNoValue, kNoValue};
    if (needs_sums) {
      std::vector<ValueId> inputs{x, dy, mean, inverse_std};
      if (recompute) inputs.insert(inputs.end(), {gamma, beta});
      if (has_mask()) inputs.push_back(builder.output(1));
      sums = builder.emit(batch_norm_reduce(backward), inputs);
      if (has_mask()) dy = sums[2];
    }
    if (builder.wants(3)) builder.set(3, sums[0]);
    if (builder.wants(4)) builder.set(4, sums[1]);
    if (epilogue_.add && builder.wants(5)) builder.set(5, dy);
    if (!builder.wants(0)) return;
    std::vector<ValueId> inputs{x, dy, mean, inverse_std, gamma};
    if (training_) inputs.insert(inputs.end(), {sums[0], sums[1]});
    if (recompute) inputs.push_back(beta);
    builder.set(0, builder.emit(batch_norm_input_gradient(training_, recompute ? Activation::relu : Activation::none), inputs)[0]);
  }
  /// x is still needed when training; the residual often is not.
  int in_place(int output) const override { return output != 0 ? -1 : training_ && epilogue_.add ? 5 : 0; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    Cost cost = Operation::cost(inputs);
    cost.flops = (epilogue_.add ? 4 : 3) * static_cast<double>(inputs[0].shape.count());
    return cost;
  }

 private:
  bool relu() const { return epilogue_.activation == Activation::relu; }
  bool has_mask() const { return training_ && relu() && epilogue_.add; }

  bool training_;
  BatchNormEpilogue epilogue_;
};

class Reduce final : public Operation {
 public:
  explicit Reduce(BatchNormEpilogue epilogue) : epilogue_(epilogue) { require_epilogue(epilogue.activation); }
  BatchNormEpilogue epilogue() const { return epilogue_; }
  std::string name() const override { return "batch_norm_reduce"; }
  std::string details() const override { return has_mask() ? "relu add" : recompute() ? "relu" : ""; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const std::size_t count = has_mask() ? 5 : recompute() ? 6 : 4;
    require_inputs("batch_norm_reduce", inputs.size(), count, count);
    const TensorSpec& x = inputs[0];
    require_image("batch_norm_reduce", x);
    require(x == inputs[1], "batch_norm_reduce: x ", x, " and dy ", inputs[1], " must agree");
    constexpr const char* kNames[]{"mean", "inverse_std", "gamma", "beta"};
    for (std::size_t i = 2; i < (recompute() ? 6 : 4); ++i) require_channels("batch_norm_reduce", kNames[i - 2], inputs[i], channels_of(x));
    if (!has_mask()) return {inputs[2], inputs[2]};
    require(inputs[4] == mask_spec(x), "batch_norm_reduce: mask must be ", mask_spec(x), ", got ", inputs[4]);
    return {inputs[2], inputs[2], x};
  }
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context&, const Prepared*) const override {
    return partials_spec(inputs[0]).bytes();
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const BatchNormReduceArgs args{x.data(),
                                   call.inputs[1].data(),
                                   call.inputs[2].as<float>(),
                                   call.inputs[3].as<float>(),
                                   recompute() ? call.inputs[4].as<float>() : nullptr,
                                   recompute() ? call.inputs[5].as<float>() : nullptr,
                                   has_mask() ? call.inputs[4].as<std::uint8_t>() : nullptr,
                                   call.outputs[0].as<float>(),
                                   call.outputs[1].as<float>(),
                                   has_mask() ? call.outputs[2].data() : nullptr,
                                   static_cast<float*>(call.workspace.data()),
                                   pixels_of(x.spec()),
                                   channels_of(x.spec()),
                                   x.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { batch_norm_reduce<World>(args, stream); });
  }
  int in_place(int output) const override { return output == 2 ? 1 : -1; }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override { return {.terms = cancelling_terms(inputs[0])}; }

 private:
  bool has_mask() const { return epilogue_.activation == Activation::relu && epilogue_.add; }
  bool recompute() const { return epilogue_.activation == Activation::relu && !epilogue_.add; }

  BatchNormEpilogue epilogue_;
};

class ReduceTiles final : public Operation {
 public:
  std::string name() const override { return "batch_norm_reduce_tiles"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("batch_norm_reduce_tiles", inputs.size(), 1, 1);
    const TensorSpec& partials = inputs[0];
    require(partials.dtype == DType::fp32 && partials.shape.rank() == 3 && partials.shape[1] == 2 && partials.shape[0] >= 1,
            "batch_norm_reduce_tiles: partials must be fp32 [tiles, 2, C], got ", partials);
    return std::vector<TensorSpec>(2, {DType::fp32, {partials.shape[2]}});
  }
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context& context, const Prepared*) const override {
    return grouped_bytes(inputs[0], context);
  }
  void run(const Call& call) const override {
    const Tensor& partials = call.inputs[0];
    const BatchNormReduceTilesArgs args{partials.as<float>(),
                                        call.outputs[0].as<float>(),
                                        call.outputs[1].as<float>(),
                                        static_cast<float*>(call.workspace.data()),
                                        partials.dim(0),
                                        partials.dim(2)};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { batch_norm_reduce_tiles<World>(args, stream); });
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    return {.terms = 4 + std::sqrt(static_cast<double>(inputs[0].shape[0])), .magnitude = Tolerance::Magnitude::absolute_inputs};
  }
};

class InputGradient final : public Operation {
 public:
  InputGradient(bool training, Activation activation) : training_(training), relu_(activation == Activation::relu) {
    require_epilogue(activation);
  }
  BatchNormApplyOptions options() const { return {training_, {relu_ ? Activation::relu : Activation::none, false}}; }
  std::string name() const override { return "batch_norm_input_gradient"; }
  std::string details() const override { return relu_ ? "relu" : ""; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const std::size_t sums = training_ ? 7 : 5, count = sums + relu_;
    require_inputs("batch_norm_input_gradient", inputs.size(), count, count);
    require_image("batch_norm_input_gradient", inputs[0]);
    require(inputs[0] == inputs[1], "batch_norm_input_gradient: x ", inputs[0], " and dy ", inputs[1], " must agree");
    constexpr const char* kNames[]{"mean", "inverse_std", "gamma", "dgamma", "dbeta"};
    for (std::size_t i = 2; i < count; ++i)
      require_channels("batch_norm_input_gradient", i < sums ? kNames[i - 2] : "beta", inputs[i], channels_of(inputs[0]));
    return {inputs[1]};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const BatchNormInputGradientArgs args{x.data(),
                                          call.inputs[1].data(),
                                          call.inputs[2].as<float>(),
                                          call.inputs[3].as<float>(),
                                          call.inputs[4].as<float>(),
                                          training_ ? call.inputs[5].as<float>() : nullptr,
                                          training_ ? call.inputs[6].as<float>() : nullptr,
                                          relu_ ? call.inputs.back().as<float>() : nullptr,
                                          call.outputs[0].data(),
                                          pixels_of(x.spec()),
                                          channels_of(x.spec()),
                                          x.dtype(),
                                          training_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { batch_norm_input_gradient<World>(args, stream); });
  }
  int in_place(int) const override { return 1; }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.terms = 8}; }

 private:
  bool training_, relu_;
};

}  // namespace

OperationPtr batch_norm_statistics() { return std::make_shared<Statistics>(); }
OperationPtr batch_norm_finalize(const BatchNormOptions& options, std::int64_t pixels, std::int64_t tile_pixels) {
  return std::make_shared<Finalize>(options, pixels, tile_pixels);
}
OperationPtr batch_norm_inference(const BatchNormOptions& options) { return std::make_shared<Inference>(options); }
OperationPtr batch_norm_apply(bool training, BatchNormEpilogue epilogue) { return std::make_shared<Apply>(training, epilogue); }
OperationPtr batch_norm_reduce(BatchNormEpilogue epilogue) { return std::make_shared<Reduce>(epilogue); }
OperationPtr batch_norm_reduce_tiles() { return std::make_shared<ReduceTiles>(); }
OperationPtr batch_norm_input_gradient(bool training, Activation activation) {
  return std::make_shared<InputGradient>(training, activation);
}

const BatchNormOptions* batch_norm_finalize_options(const Operation& operation) {
  const auto* finalize = dynamic_cast<const Finalize*>(&operation);
  return finalize ? &finalize->options() : nullptr;
}
std::optional<BatchNormApplyOptions> batch_norm_apply_options(const Operation& operation) {
  const auto* apply = dynamic_cast<const Apply*>(&operation);
  return apply ? std::optional(apply->options()) : std::nullopt;
}
std::optional<BatchNormEpilogue> batch_norm_reduce_epilogue(const Operation& operation) {
  const auto* reduce = dynamic_cast<const Reduce*>(&operation);
  return reduce ? std::optional(reduce->epilogue()) : std::nullopt;
}
std::optional<BatchNormApplyOptions> batch_norm_input_gradient_options(const Operation& operation) {
  const auto* gradient = dynamic_cast<const InputGradient*>(&operation);
  return gradient ? std::optional(gradient->options()) : std::nullopt;
}

}  // namespace epitaxy
