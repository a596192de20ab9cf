#include "epitaxy/ops/rnn.h"

#include "cpu/rnn.h"
#include "kernels/rnn.h"
#include "ops/dispatch.h"
#if EPITAXY_HAS_CUDA
#include "gpu/rnn.h"
#endif

namespace epitaxy {

std::string_view name(RnnMode mode) {
  switch (mode) {
    case RnnMode::rnn_tanh: return "rnn_tanh";
    case RnnMode::rnn_relu: return "rnn_relu";
    case RnnMode::lstm: return "lstm";
    case RnnMode::gru: return "gru";
  }
  return "";
}

std::vector<RnnParameter> rnn_parameters(const RnnOptions& options, std::int64_t input) {
  const RnnProblem p{.options = options, .input = input};
  std::vector<RnnParameter> result;
  for (std::int64_t layer = 0; layer < options.layers; ++layer)
    for (std::int64_t direction = 0; direction < p.directions(); ++direction) {
      const std::string suffix = text("_l", layer, direction ? "_reverse" : "");
      const std::int64_t rows = p.gates() * p.hidden();
      result.push_back({"weight_ih" + suffix, {rows, p.input_of(layer)}});
      result.push_back({"weight_hh" + suffix, {rows, p.output()}});
      if (options.bias) {
        result.push_back({"bias_ih" + suffix, {rows}});
        result.push_back({"bias_hh" + suffix, {rows}});
      }
      if (options.projection) result.push_back({"weight_hr" + suffix, {p.output(), p.hidden()}});
    }
  return result;
}

namespace {

/// Where the inputs that both passes share lie; -1 where they are absent.
struct Places {
  explicit Places(const RnnOptions& options) {
    int next = 1;
    if (options.lengths) lengths = next++;
    if (options.initial) {
      h0 = next++;
      if (options.mode == RnnMode::lstm) c0 = next++;
    }
    parameters = next;
    parameter_count = static_cast<int>(rnn_parameters(options, 1).size());
    end = next + parameter_count;
  }
  int lengths = -1, h0 = -1, c0 = -1, parameters, parameter_count, end;
};

/// What forward and gradient share.
class RnnBase : public Operation {
 public:
  explicit RnnBase(const RnnOptions& options) : options_(check(options)), at_(options) {}
  const RnnOptions& options() const { return options_; }

  std::string details() const override {
    return text(options_.layers, options_.layers > 1 ? " layers of " : " layer of ", options_.hidden,
                options_.projection ? text(" projected to ", options_.projection) : "", options_.bidirectional ? " in both directions" : "",
                options_.mode == RnnMode::rnn_tanh || options_.mode == RnnMode::rnn_relu ? text(", ", epitaxy::name(options_.mode)) : "",
                options_.lengths ? ", own lengths" : "");
  }
  bool capturable() const override { return !options_.lengths; }
  std::size_t workspace_bytes(std::span<const TensorSpec>, const Context& context, const Prepared* prepared) const final {
    if (context.device().kind == DeviceKind::cpu && prepared) return cpu_rnn_workspace_bytes(*prepared);
#if EPITAXY_HAS_CUDA
    if (context.device().kind == DeviceKind::cuda) return cuda_rnn_workspace_bytes(*prepared);
#endif
    return 0;
  }

 protected:
  /// Of the fast CPU path or of cuDNN: the forward pass, or where `given`, the gradient. The reference needs nothing.
  std::shared_ptr<Prepared> prepare_pass(std::span<const TensorSpec> inputs, const Context& context, const RnnGradients* given) const {
    const RnnProblem p = problem(inputs[0]);
    if (context.device().kind == DeviceKind::cpu && !context.reference)
      return cpu_prepare_rnn(p, given ? RnnPass::backward : RnnPass::forward);
#if EPITAXY_HAS_CUDA
    if (context.device().kind == DeviceKind::cuda) return cuda_prepare_rnn(p, given);
#endif
    return nullptr;
  }
  static const RnnOptions& check(const RnnOptions& o) {
    const auto op = epitaxy::name(o.mode);
    require(o.hidden >= 1, op, ": hidden must be at least 1, got ", o.hidden);
    require(o.layers >= 1 && o.layers <= kMostRnnLayers, op, ": layers must lie in [1, ", kMostRnnLayers, "], got ", o.layers);
    require(o.projection >= 0 && (o.projection == 0 || (o.mode == RnnMode::lstm && o.projection < o.hidden)), op,
            ": a projection is for lstm, below its hidden size; got ", o.projection, " of ", o.hidden);
    return o;
  }
  std::string base_name() const { return options_.mode == RnnMode::lstm ? "lstm" : options_.mode == RnnMode::gru ? "gru" : "rnn"; }
  RnnProblem problem(const TensorSpec& x) const { return {options_, x.dtype, x.shape[0], x.shape[1], x.shape[2]}; }

  /// That input i, where there is one, is as wanted.
  void expect(std::span<const TensorSpec> inputs, int i, const char* what, const TensorSpec& wanted) const {
    if (i < 0) return;
    const TensorSpec& got = inputs[static_cast<std::size_t>(i)];
    require(got == wanted, name(), ": ", what, " must be ", wanted, ", got ", got);
  }
  RnnProblem check_shared(std::span<const TensorSpec> inputs) const {
    const TensorSpec& x = inputs[0];
    require(is_floating(x.dtype) && x.shape.rank() == 3 && x.shape.count() > 0, name(), ": x must be floating [N, T, I], not empty, got ",
            x);
    const RnnProblem p = problem(x);
    expect(inputs, at_.lengths, "lengths", {DType::int32, {p.batch}});
    expect(inputs, at_.h0, "h0", state(p, p.output()));
    expect(inputs, at_.c0, "c0", state(p, p.hidden()));
    int i = at_.parameters;
    for (const auto& parameter : rnn_parameters(options_, p.input))
      expect(inputs, i++, parameter.name.c_str(), {parameter.shape.rank() == 1 ? DType::fp32 : x.dtype, parameter.shape});
    return p;
  }
  TensorSpec state(const RnnProblem& p, std::int64_t size) const { return {p.dtype, {options_.layers * p.directions(), p.batch, size}}; }
  static TensorSpec reserve(const RnnProblem& p) { return {DType::uint8, {rnn_reserve_bytes(p)}}; }

  static const void* address(const Call& call, int i) { return i < 0 ? nullptr : call.inputs[static_cast<std::size_t>(i)].data(); }
  const std::int32_t* lengths(const Call& call) const { return static_cast<const std::int32_t*>(address(call, at_.lengths)); }
  std::array<const void*, kMostRnnParameters> parameters(const Call& call) const {
    std::array<const void*, kMostRnnParameters> result{};
    for (int i = 0; i < at_.parameter_count; ++i) result[static_cast<std::size_t>(i)] = address(call, at_.parameters + i);
    return result;
  }

  double forward_flops(const RnnProblem& p) const {
    double products = 0;
    for (const auto& parameter : rnn_parameters(options_, p.input))
      if (parameter.shape.rank() == 2) products += static_cast<double>(parameter.shape.count());
    return 2 * products * static_cast<double>(p.batch * p.steps);
  }
  /// Every step adds the rounding of its sums, and of h where that is stored in 16 bits; what it adds to fades as the network forgets.
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    const RnnProblem p = problem(inputs[0]);
    const auto depth = static_cast<double>(p.input + p.output() + p.steps);
    if (p.dtype != DType::fp32) return {.factor = 4, .terms = 2, .math_roundoff = unit_roundoff(p.dtype)};
    if (options_.tf32) return {.factor = 4, .terms = 2, .math_roundoff = 0x1p-11};
    return {.factor = 4, .terms = depth};
  }

  RnnOptions options_;
  Places at_;
};

class Rnn final : public RnnBase {
 public:
  explicit Rnn(const RnnOptions& options) : RnnBase(options) {}
  std::string name() const override { return base_name(); }

  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const auto count = static_cast<std::size_t>(at_.end);
    require_inputs(name().c_str(), inputs.size(), count, count);
    const RnnProblem p = check_shared(inputs);
    std::vector<TensorSpec> result{{p.dtype, {p.batch, p.steps, p.width()}}, state(p, p.output())};
    if (p.is_lstm()) result.push_back(state(p, p.hidden()));
    if (options_.training) result.push_back(reserve(p));
    return result;
  }
  bool is_opaque(int output) const override { return options_.training && output == reserve_at(); }
  std::size_t output_bytes(int output, std::span<const TensorSpec> inputs, [[maybe_unused]] const Context& context,
                           [[maybe_unused]] const Prepared* prepared) const override {
    const std::size_t bytes = outputs(inputs)[static_cast<std::size_t>(output)].bytes();
#if EPITAXY_HAS_CUDA
    if (is_opaque(output) && context.device().kind == DeviceKind::cuda) return std::max(bytes, cuda_rnn_reserve_bytes(*prepared));
#endif
    return bytes;
  }

  std::shared_ptr<Prepared> prepare(std::span<const TensorSpec> inputs, const Context& context) const override {
    return prepare_pass(inputs, context, nullptr);
  }

  void run(const Call& call) const override {
    const auto weights = parameters(call);
    const RnnProblem p = problem(call.inputs[0].spec());
    const RnnArgs args{.problem = p,
                       .x = call.inputs[0].data(),
                       .lengths = lengths(call),
                       .h0 = address(call, at_.h0),
                       .c0 = address(call, at_.c0),
                       .parameters = weights.data(),
                       .y = call.outputs[0].data(),
                       .h_n = call.outputs[1].data(),
                       .c_n = p.is_lstm() ? call.outputs[2].data() : nullptr,
                       .reserve = options_.training ? call.outputs[static_cast<std::size_t>(reserve_at())].data() : nullptr};
#if EPITAXY_HAS_CUDA
    if (call.context.device().kind == DeviceKind::cuda)
      return cuda_rnn_forward(*call.prepared, args, call.workspace.data(), call.context.stream);
#endif
    check_rnn_lengths(p, args.lengths);
    if (call.prepared) return cpu_rnn_forward(*call.prepared, args, call.workspace.data());
    rnn_forward<Reference>(args, call.context.stream);
  }

  void differentiate(GradientBuilder& builder) const override {
    require(options_.training, name(), ": made for inference, it keeps nothing that a gradient could use");
    const int states = options_.mode == RnnMode::lstm ? 2 : 1;
    const RnnGradients given{.y = builder.gradient(0) != kNoValue,
                             .h_n = builder.gradient(1) != kNoValue,
                             .c_n = states == 2 && builder.gradient(2) != kNoValue,
                             .x = builder.wants(0)};
    std::vector<ValueId> inputs;
    inputs.reserve(builder.results().size() + 5);
    for (int i = 0; i < at_.end; ++i) inputs.push_back(builder.input(i));
    inputs.push_back(builder.output(0));
    inputs.push_back(builder.output(reserve_at()));
    for (int i = 0; i <= states; ++i)
      if (builder.gradient(i) != kNoValue) inputs.push_back(builder.gradient(i));
    const auto gradients = builder.emit(rnn_gradient(options_, given), inputs);
    int next = 0;
    if (given.x) builder.set(0, gradients[static_cast<std::size_t>(next++)]);
    if (at_.h0 >= 0) builder.set(at_.h0, gradients[static_cast<std::size_t>(next++)]);
    if (at_.c0 >= 0) builder.set(at_.c0, gradients[static_cast<std::size_t>(next++)]);
    for (int i = 0; i < at_.parameter_count; ++i) builder.set(at_.parameters + i, gradients[static_cast<std::size_t>(next++)]);
  }

  Cost cost(std::span<const TensorSpec> inputs) const override {
    return {forward_flops(problem(inputs[0])), Operation::cost(inputs).bytes};
  }

 private:
  int reserve_at() const { return options_.mode == RnnMode::lstm ? 3 : 2; }
};

class RnnGradient final : public RnnBase {
 public:
  RnnGradient(const RnnOptions& options, const RnnGradients& given) : RnnBase(options), given_(given) {
    require(given.y || given.h_n || given.c_n, name(), ": no gradient arrives");
    require(!given.c_n || options.mode == RnnMode::lstm, name(), ": only lstm has cells");
    int next = at_.end + 2;
    if (given.y) dy_ = next++;
    if (given.h_n) dh_n_ = next++;
    if (given.c_n) dc_n_ = next++;
    inputs_ = next;
  }
  std::string name() const override { return base_name() + "_gradient"; }

  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs(name().c_str(), inputs.size(), static_cast<std::size_t>(inputs_), static_cast<std::size_t>(inputs_));
    const RnnProblem p = check_shared(inputs);
    const TensorSpec y{p.dtype, {p.batch, p.steps, p.width()}}, h = state(p, p.output()), c = state(p, p.hidden());
    expect(inputs, at_.end, "y", y), expect(inputs, at_.end + 1, "reserve", reserve(p));
    expect(inputs, dy_, "dy", y), expect(inputs, dh_n_, "dh_n", h), expect(inputs, dc_n_, "dc_n", c);
    std::vector<TensorSpec> result;
    if (given_.x) result.push_back(inputs[0]);
    if (at_.h0 >= 0) result.push_back(h);
    if (at_.c0 >= 0) result.push_back(c);
    for (const auto& parameter : rnn_parameters(options_, p.input)) result.push_back({DType::fp32, parameter.shape});
    return result;
  }

  std::shared_ptr<Prepared> prepare(std::span<const TensorSpec> inputs, const Context& context) const override {
    return prepare_pass(inputs, context, &given_);
  }

  void run(const Call& call) const override {
    const auto weights = parameters(call);
    const RnnProblem p = problem(call.inputs[0].spec());
    std::size_t next = 0;
    const auto output = [&](bool there) { return there ? call.outputs[next++].data() : nullptr; };
    void* const dx = output(given_.x);
    void* const dh0 = output(at_.h0 >= 0);
    void* const dc0 = output(at_.c0 >= 0);
    std::array<float*, kMostRnnParameters> gradients{};
    for (int i = 0; i < at_.parameter_count; ++i) gradients[static_cast<std::size_t>(i)] = static_cast<float*>(output(true));
    const RnnGradientArgs args{.problem = p,
                               .x = call.inputs[0].data(),
                               .lengths = lengths(call),
                               .h0 = address(call, at_.h0),
                               .c0 = address(call, at_.c0),
                               .parameters = weights.data(),
                               .y = address(call, at_.end),
                               .reserve = address(call, at_.end + 1),
                               .dy = address(call, dy_),
                               .dh_n = address(call, dh_n_),
                               .dc_n = address(call, dc_n_),
                               .dx = dx,
                               .dh0 = dh0,
                               .dc0 = dc0,
                               .gradients = gradients.data()};
#if EPITAXY_HAS_CUDA
    if (call.context.device().kind == DeviceKind::cuda)
      return cuda_rnn_backward(*call.prepared, args, call.workspace.data(), call.context.stream);
#endif
    check_rnn_lengths(p, args.lengths);
    if (call.prepared) return cpu_rnn_backward(*call.prepared, args, call.workspace.data());
    rnn_backward<Reference>(args, call.context.stream);
  }

  Cost cost(std::span<const TensorSpec> inputs) const override {
    return {2 * forward_flops(problem(inputs[0])), Operation::cost(inputs).bytes};
  }

 private:
  RnnGradients given_;
  int dy_ = -1, dh_n_ = -1, dc_n_ = -1, inputs_;
};

}  // namespace

OperationPtr rnn(const RnnOptions& options) { return std::make_shared<Rnn>(options); }
OperationPtr rnn_gradient(const RnnOptions& options, const RnnGradients& given) { return std::make_shared<RnnGradient>(options, given); }

}  // namespace epitaxy
