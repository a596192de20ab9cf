// Convolution: checks, shapes, gradient rule, choice of implementation.
#include "ops/conv2d.h"

#include <cmath>
#include <optional>

#include "epitaxy/ops/reduce.h"
#include "ops/dispatch.h"
#if EPITAXY_HAS_ONEDNN
#include "cpu/conv2d.h"
#endif

namespace epitaxy {

namespace {

using Size = std::array<std::int64_t, 2>;

constexpr std::array<const char*, 3> kNames{"conv2d", "conv2d_input_gradient", "conv2d_filter_gradient"};
const char* name_of(Conv2dPass pass) { return kNames[static_cast<std::size_t>(pass)]; }

/// "mma 128x64 vector", "mma 64x64 splits 3"
std::string name_of(const Conv2dPlan& plan) {
  constexpr std::array<const char*, 5> kPaths{"simt", "mma", "wgmma", "first", "depthwise"};
  constexpr std::array<const char*, 8> kTiles{"128x128", "128x64",  "64x64",         "256x64",
                                              "256x128", "128x256", "256x64 strips", "256x128 strips"};
  return text(kPaths[static_cast<std::size_t>(plan.path)], " ", kTiles[static_cast<std::size_t>(plan.tile)], plan.vector ? " vector" : "",
              plan.splits > 1 ? text(" splits ", plan.splits) : "");
}

void check_options(const char* name, const Conv2dOptions& o) {
  constexpr std::int64_t kMost = 1 << 20;
  for (const auto v : o.stride) require(v >= 1 && v <= kMost, name, ": stride must lie in [1, ", kMost, "], got ", v);
  for (const auto v : o.dilation) require(v >= 1 && v <= kMost, name, ": dilation must lie in [1, ", kMost, "], got ", v);
  for (const auto v : o.padding) require(v >= 0 && v <= kMost, name, ": padding must lie in [0, ", kMost, "], got ", v);
  require(o.groups >= 1, name, ": groups must be >= 1, got ", o.groups);
  require(o.activation == Activation::none || o.activation == Activation::relu, name, ": the epilogue can be relu or none, not ",
          epitaxy::name(o.activation));
  require(o.second_channels >= 0, name, ": second_channels must be >= 0, got ", o.second_channels);
  require(o.second_channels == 0 || o.groups == 1, name, ": a second input takes one group, not ", o.groups);
}

/// Output size along one axis.
std::int64_t output_size(const char* name, const Conv2dOptions& o, std::size_t axis, std::int64_t size, std::int64_t taps) {
  const std::int64_t padded = size + o.padding[2 * axis] + o.padding[2 * axis + 1], extent = o.dilation[axis] * (taps - 1) + 1;
  require(padded >= extent, name, ": a filter of ", taps, axis == 0 ? " rows" : " columns", " with dilation ", o.dilation[axis], " covers ",
          extent, " pixels, more than the padded image's ", padded);
  return (padded - extent) / o.stride[axis] + 1;
}

void require_image(const char* name, const char* what, const TensorSpec& spec) {
  require(spec.shape.rank() == 4 && is_floating(spec.dtype), name, ": ", what, " must be floating with 4 dimensions, got ", spec);
  for (const auto size : spec.shape.dims())
    require(size >= 1 && size < (1 << 30), name, ": ", what, " ", spec, " has an empty or oversized dimension");
}

/// Of an input gradient, beside dy and the filter.
std::size_t epilogue_inputs(const Conv2dGradientEpilogue& e) {
  const bool reads_mask = e.mask == ReluMask::output || e.mask == ReluMask::bits;
  return 0u + e.add + reads_mask + (e.reductions ? 3 : 0) + (e.mask == ReluMask::recomputed ? 2 : 0);
}

void check_epilogue_inputs(const Conv2dProblem& d, const Conv2dGradientEpilogue& e, std::span<const TensorSpec> inputs) {
  const TensorSpec dx{d.dtype, {d.n, d.h, d.w, d.c}}, bits{DType::uint8, {d.n, d.h, d.w, (d.c + 7) / 8}}, channels{DType::fp32, {d.c}};
  std::size_t at = 0;
  const auto expect = [&](const char* what, const TensorSpec& spec) {
    require(inputs[at] == spec, name_of(Conv2dPass::input_gradient), ": ", what, " is ", inputs[at], ", expected ", spec);
    ++at;
  };
  if (e.add) expect("the other gradient", dx);
  if (e.mask == ReluMask::output) expect("x", dx);
  if (e.mask == ReluMask::bits) expect("the mask", bits);
  if (e.reductions) expect("batch normalisation's input", dx), expect("mean", channels), expect("inverse_std", channels);
  if (e.mask == ReluMask::recomputed) expect("gamma", channels), expect("beta", channels);
}

}  // namespace

Conv2dProblem conv2d_problem(Conv2dPass pass, const Conv2dOptions& o, Size size, std::span<const TensorSpec> inputs,
                             const Conv2dGradientEpilogue& epilogue) {
  const char* name = name_of(pass);
  const bool forward = pass == Conv2dPass::forward, to_image = pass == Conv2dPass::input_gradient, to_filter = !forward && !to_image;
  const bool two = o.second_channels > 0, residual = forward && o.residual;
  const std::size_t least = 2u + (two && !to_image) + residual + (to_image ? epilogue_inputs(epilogue) : 0);
  require_inputs(name, inputs.size(), least, forward ? least + 1 : least);
  const TensorSpec &first = inputs[0], &second = inputs[two && !to_image ? 2 : 1];
  require_image(name, to_image ? "dy" : "x", first);
  require_image(name, to_filter ? "dy" : "filter", second);
  require(first.dtype == second.dtype, name, ": ", first, " and ", second, " must have one dtype");

  const Shape &a = first.shape, &b = second.shape;
  Conv2dProblem d{};
  d.n = a[0];
  d.h = to_image ? size[0] : a[1];
  d.w = to_image ? size[1] : a[2];
  d.second = o.second_channels;
  d.c = to_image ? b[3] * o.groups : a[3] + d.second;
  d.k = to_filter ? b[3] : b[0];
  d.r = to_filter ? size[0] : b[1];
  d.s = to_filter ? size[1] : b[2];
  if (two && !to_image) {
    const TensorSpec x2{first.dtype, {d.n, d.h, d.w, d.second}};
    require(inputs[1] == x2, name, ": x2 is ", inputs[1], ", expected ", x2);
  }
  require(d.c > d.second, name, ": filter ", second, " has no channels beside the ", d.second, " of the second input");
  require(d.c % o.groups == 0 && d.k % o.groups == 0, name, ": ", o.groups, " groups must divide the ", d.c, " input and ", d.k,
          " output channels");
  require(to_filter || b[3] * o.groups == d.c, name, ": filter ", second, " with ", o.groups, " groups reads ", b[3] * o.groups,
          " channels, x has ", d.c);
  d.p = output_size(name, o, 0, d.h, d.r);
  d.q = output_size(name, o, 1, d.w, d.s);
  const TensorSpec y{first.dtype, {d.n, d.p, d.q, d.k}};
  if (!forward) {
    const TensorSpec& dy = to_filter ? second : first;
    require(dy.shape == y.shape, name, ": dy is ", dy, ", expected ", y);
  }
  d.bias = inputs.size() > least;
  if (d.bias) {
    const TensorSpec &bias = inputs[two ? 3 : 2], want{DType::fp32, {d.k}};
    require(bias == want, name, ": bias is ", bias, ", expected ", want);
  }
  d.residual = residual;
  if (residual) require(inputs.back() == y, name, ": the residual is ", inputs.back(), ", expected ", y);
  d.stride = o.stride;
  d.dilation = o.dilation;
  d.padding = o.padding;
  d.padding_mode = o.padding_mode;
  d.groups = o.groups;
  d.dtype = first.dtype;
  d.tf32 = o.tf32 && d.dtype == DType::fp32;
  d.activation = forward ? o.activation : Activation::none;
  d.statistics = forward && o.statistics;
  if (to_image) {
    check_epilogue_inputs(d, epilogue, inputs.subspan(2));
    d.residual = epilogue.add, d.mask = epilogue.mask, d.statistics = epilogue.reductions;
  }
  return d;
}

namespace {

class Conv2d final : public Operation {
 public:
  Conv2d(Conv2dPass pass, const Conv2dOptions& options, Size size, const Conv2dGradientEpilogue& epilogue = {},
         std::optional<Conv2dPlan> plan = {})
      : pass_(pass), options_(options), size_(size), epilogue_(epilogue), plan_(plan) {
    check_options(name_of(pass), options);
    require(!has_epilogue() || (pass == Conv2dPass::input_gradient && options.second_channels == 0), name_of(pass),
            ": a gradient's epilogue belongs to the input gradient of one image");
    require(epilogue.mask != ReluMask::recomputed || epilogue.reductions, name_of(pass), ": a recomputed mask takes reductions");
    for (const auto v : size) require(v >= 1, name_of(pass), ": image and filter sizes must be >= 1, got ", v);
  }
  Conv2dPass pass() const { return pass_; }
  const Conv2dOptions& options() const { return options_; }
  Conv2dInputGradientOptions gradient_options() const { return {options_, size_[0], size_[1], epilogue_}; }
  std::string name() const override { return name_of(pass_); }
  std::string details() const override;
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const Conv2dProblem d = problem(inputs);
    std::vector<TensorSpec> result;
    switch (pass_) {
      case Conv2dPass::forward:
        result = {{d.dtype, {d.n, d.p, d.q, d.k}}};
        if (d.statistics) result.push_back({DType::fp32, {d.statistics_tiles(d.output_pixels()), 2, d.k}});
        break;
      case Conv2dPass::input_gradient:
        result = {{d.dtype, {d.n, d.h, d.w, d.first()}}};
        if (d.second) result.push_back({d.dtype, {d.n, d.h, d.w, d.second}});
        if (d.statistics) result.push_back({DType::fp32, {d.statistics_tiles(d.image_pixels()), 2, d.c}});
        break;
      case Conv2dPass::filter_gradient: result = {{DType::fp32, {d.k, d.r, d.s, d.group_inputs()}}}; break;
    }
    return result;
  }
  std::shared_ptr<Prepared> prepare([[maybe_unused]] std::span<const TensorSpec> inputs,
                                    [[maybe_unused]] const Context& context) const override {
#if EPITAXY_HAS_ONEDNN
    if (context.device().kind == DeviceKind::cpu && !context.reference && !has_epilogue())
      return cpu_prepare_conv2d(pass_, problem(inputs));
#endif
    return nullptr;
  }
  std::vector<OperationPtr> candidates(std::span<const TensorSpec> inputs, const Context& context) const override {
    std::vector<OperationPtr> result;
    if (context.device().kind == DeviceKind::cpu) return result;
    for (const auto& plan : epitaxy::candidates(pass_, problem(inputs), *context.stream.profile))
      result.push_back(std::make_shared<Conv2d>(pass_, options_, size_, epilogue_, plan));
    return result;
  }
  std::string variant() const override { return plan_ ? name_of(*plan_) : ""; }
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context& context,
                              [[maybe_unused]] const Prepared* prepared) const override {
#if EPITAXY_HAS_ONEDNN
    if (prepared) return cpu_conv2d_workspace_bytes(*prepared);
#endif
    if (context.device().kind == DeviceKind::cpu) return 0;
    const Conv2dProblem d = problem(inputs);
    return conv2d_workspace_bytes(pass_, d, plan_for(d, context));
  }
  void run(const Call& call) const override;
  void differentiate(GradientBuilder& builder) const override;
  /// The other gradient is read where the sum is stored, by the same warp.
  int in_place(int output) const override { return output == 0 && epilogue_.add ? 2 : -1; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    const Conv2dProblem d = problem(inputs);
    Cost cost = Operation::cost(inputs);
    cost.flops = 2.0 * static_cast<double>(d.output_pixels()) * static_cast<double>(d.k * d.r * d.s * d.group_inputs());
    return cost;
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    const Conv2dProblem d = problem(inputs);
    const auto length = static_cast<double>(pass_ == Conv2dPass::forward          ? d.r * d.s * d.group_inputs()
                                            : pass_ == Conv2dPass::input_gradient ? d.r * d.s * d.group_outputs()
                                                                                  : d.output_pixels());
    // Rounding errors of a sum grow as the root of its length; tensor cores truncate once in 16 products, which adds up.
    const double terms = 4 + std::sqrt(length) + length / 16;
    Tolerance result{2, terms, Tolerance::Magnitude::absolute_inputs, 0x1p-24};
    // Both factors may be rounded (GPU, reference) or not (CPU): 2^-11 each.
    if (d.tf32) result.terms = 1 + terms * 0x1p-13, result.math_roundoff = 0x1p-11;
    if (d.mask == ReluMask::recomputed) {  // absolute inputs would give another mask; |a| * |b| add up to about sqrt(length) |a * b|
      result.magnitude = Tolerance::Magnitude::largest_output;
      result.terms *= std::sqrt(length);
    }
    return result;
  }
  /// A stored value may round to its neighbour, which moves a mean or a sum of squares by a part of a unit of the storage type.
  Tolerance tolerance_of(int output, std::span<const TensorSpec> inputs) const override {
    const Conv2dProblem d = problem(inputs);
    Tolerance result = tolerance(inputs);
    if (output == 0 || !d.statistics) return result;
    const bool moments = pass_ == Conv2dPass::forward;
    result.terms = d.dtype == DType::fp32 ? result.terms + (moments ? 0 : 64) : moments ? 1 : 4;
    result.magnitude = Tolerance::Magnitude::largest_output;
    result.math_roundoff = std::max(result.math_roundoff, unit_roundoff(d.dtype));
    return result;
  }

 private:
  Conv2dProblem problem(std::span<const TensorSpec> inputs) const { return conv2d_problem(pass_, options_, size_, inputs, epilogue_); }
  bool has_epilogue() const { return epilogue_ != Conv2dGradientEpilogue{}; }
  Conv2dPlan plan_for(const Conv2dProblem& d, const Context& context) const {
    if (!plan_) return choose(pass_, d, *context.stream.profile);
    require(is_supported(pass_, d, *plan_), name(), ": no kernel for the plan that was given");
    return *plan_;
  }

  Conv2dPass pass_;
  Conv2dOptions options_;
  Size size_;
  Conv2dGradientEpilogue epilogue_;
  std::optional<Conv2dPlan> plan_;
};

std::string Conv2d::details() const {
  std::string result;
  const auto add = [&](const std::string& part) { result += (result.empty() ? "" : " ") + part; };
  const auto pair = [](const auto& v) { return v[0] == v[1] ? std::to_string(v[0]) : text(v[0], "x", v[1]); };
  const Conv2dOptions& o = options_;
  if (pass_ == Conv2dPass::filter_gradient) add(text(size_[0], "x", size_[1]));
  if (o.stride != Size{1, 1}) add("stride " + pair(o.stride));
  if (o.dilation != Size{1, 1}) add("dilation " + pair(o.dilation));
  const auto& p = o.padding;
  if (p[0] == p[1] && p[1] == p[2] && p[2] == p[3]) {
    if (p[0]) add(text("padding ", p[0]));
  } else {
    add(text("padding ", p[0], ",", p[1], ",", p[2], ",", p[3]));
  }
  if (o.padding_mode[0] == PaddingMode::periodic)
    add(o.padding_mode[1] == PaddingMode::periodic ? "periodic" : "periodic vertically");
  else if (o.padding_mode[1] == PaddingMode::periodic)
    add("periodic horizontally");
  if (o.groups > 1) add(text("groups ", o.groups));
  if (o.tf32) add("tf32");
  if (o.second_channels > 0) add(text("second input ", o.second_channels));
  if (pass_ != Conv2dPass::forward) {
    constexpr std::array<const char*, 4> kMasks{"", "relu", "relu bits", "relu recomputed"};
    if (epilogue_.add) add("add");
    if (epilogue_.mask != ReluMask::none) add(kMasks[static_cast<std::size_t>(epilogue_.mask)]);
    if (epilogue_.reductions) add("reductions");
    return result;
  }
  if (o.residual) add("residual");
  if (o.activation == Activation::relu) add("relu");
  if (o.statistics) add("statistics");
  return result;
}

void Conv2d::run(const Call& call) const {
  constexpr std::size_t kMost = 8;  // dy, filter, another gradient, and five for batch normalisation
  std::array<TensorSpec, kMost> specs;
  const auto& inputs = call.inputs;
  require_inputs(name_of(pass_), inputs.size(), 2, kMost);
  for (std::size_t i = 0; i < inputs.size(); ++i) specs[i] = inputs[i].spec();
  const Conv2dProblem d = problem({specs.data(), inputs.size()});

  Conv2dArgs args{pass_, d};
  std::size_t at = 0;
  const auto next = [&] { return inputs[at++].data(); };
  (pass_ == Conv2dPass::input_gradient ? args.dy : args.x) = next();
  if (d.second && pass_ != Conv2dPass::input_gradient) args.x2 = next();
  (pass_ == Conv2dPass::filter_gradient ? args.dy : args.filter) = next();
  if (d.bias) args.bias = inputs[at++].as<float>();
  if (d.residual) args.residual = next();
  if (d.mask == ReluMask::output || d.mask == ReluMask::bits) args.mask = next();
  const auto next_channels = [&] { return inputs[at++].as<float>(); };
  if (pass_ == Conv2dPass::input_gradient && d.statistics)
    args.normalised = next(), args.mean = next_channels(), args.inverse_std = next_channels();
  if (d.mask == ReluMask::recomputed) args.gamma = next_channels(), args.beta = next_channels();
  args.result = call.outputs[0].data();
  if (d.statistics) args.statistics = call.outputs[1].as<float>();
  if (d.second && pass_ == Conv2dPass::input_gradient) args.result2 = call.outputs[1].data();
#if EPITAXY_HAS_ONEDNN
  if (call.prepared) return cpu_run_conv2d(*call.prepared, args, call.workspace.data());
#endif
  if (call.context.device().kind != DeviceKind::cpu) {
    args.plan = plan_for(d, call.context);
    args.workspace = static_cast<float*>(call.workspace.data());
  }
  dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { epitaxy::conv2d<World>(args, stream); });
}

void Conv2d::differentiate(GradientBuilder& builder) const {
  if (pass_ != Conv2dPass::forward) return Operation::differentiate(builder);
  const Conv2dOptions& o = options_;
  require(!o.statistics || builder.gradient(1) == kNoValue, "conv2d: its statistics have no gradient");
  ValueId dy = builder.gradient(0);
  if (dy == kNoValue) return;
  if (o.activation == Activation::relu) dy = builder.emit(activation_gradient(Activation::relu), {builder.output(0), dy})[0];
  const bool two = o.second_channels > 0;
  const int w = two ? 2 : 1, inputs = static_cast<int>(builder.results().size()), last = inputs - 1;
  const Shape image = builder.spec(builder.input(0)).shape, filter = builder.spec(builder.input(w)).shape;
  if (builder.wants(0) || (two && builder.wants(1))) {
    const auto dx = builder.emit(conv2d_input_gradient(o, image[1], image[2]), {dy, builder.input(w)});
    for (int i = 0; i < static_cast<int>(dx.size()); ++i)
      if (builder.wants(i)) builder.set(i, dx[static_cast<std::size_t>(i)]);
  }
  if (builder.wants(w)) {
    std::vector<ValueId> from{builder.input(0)};
    if (two) from.push_back(builder.input(1));
    from.push_back(dy);
    builder.set(w, builder.emit(conv2d_filter_gradient(o, filter[1], filter[2]), from)[0]);
  }
  if (o.residual && builder.wants(last)) builder.set(last, dy);
  if (inputs - (o.residual ? 1 : 0) > w + 1 && builder.wants(w + 1)) builder.set(w + 1, builder.emit(channel_sum(), {dy})[0]);
}

}  // namespace

OperationPtr conv2d(const Conv2dOptions& options) { return std::make_shared<Conv2d>(Conv2dPass::forward, options, Size{1, 1}); }
OperationPtr conv2d_input_gradient(const Conv2dOptions& options, std::int64_t height, std::int64_t width,
                                   const Conv2dGradientEpilogue& epilogue) {
  return std::make_shared<Conv2d>(Conv2dPass::input_gradient, options, Size{height, width}, epilogue);
}
OperationPtr conv2d_filter_gradient(const Conv2dOptions& options, std::int64_t rows, std::int64_t columns) {
  return std::make_shared<Conv2d>(Conv2dPass::filter_gradient, options, Size{rows, columns});
}
const Conv2dOptions* conv2d_options(const Operation& operation) {
  const auto* conv = dynamic_cast<const Conv2d*>(&operation);
  return conv && conv->pass() == Conv2dPass::forward ? &conv->options() : nullptr;
}
std::optional<Conv2dInputGradientOptions> conv2d_input_gradient_options(const Operation& operation) {
  const auto* conv = dynamic_cast<const Conv2d*>(&operation);
  return conv && conv->pass() == Conv2dPass::input_gradient ? std::optional(conv->gradient_options()) : std::nullopt;
}
OperationPtr conv2d_with_plan(Conv2dPass pass, const Conv2dOptions& options, std::array<std::int64_t, 2> size, const Conv2dPlan& plan,
                              const Conv2dGradientEpilogue& epilogue) {
  return std::make_shared<Conv2d>(pass, options, size, epilogue, plan);
}

}  // namespace epitaxy
