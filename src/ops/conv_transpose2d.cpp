// Transposed convolution as the input gradient of a convolution, and a bias.
#include "epitaxy/ops/conv_transpose2d.h"

#include <cmath>
#include <optional>

#include "epitaxy/ops/reduce.h"
#include "kernels/conv_transpose2d.h"
#include "ops/conv2d.h"
#include "ops/dispatch.h"
#if EPITAXY_HAS_ONEDNN
#include "cpu/conv2d.h"
#endif

namespace epitaxy {

namespace {

constexpr const char* kName = "conv_transpose2d";

class ConvTranspose2d final : public Operation {
 public:
  explicit ConvTranspose2d(const ConvTranspose2dOptions& options, std::optional<Conv2dPlan> plan = {}) : options_(options), plan_(plan) {}
  std::string name() const override { return kName; }
  std::string details() const override { return options_.tf32 ? "tf32" : ""; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const Conv2dProblem d = problem(inputs);
    if (inputs.size() == 3) require(inputs[2] == TensorSpec{DType::fp32, {d.c}}, kName, ": bias must be fp32 [", d.c, "], got ", inputs[2]);
    return {{d.dtype, {d.n, d.h, d.w, d.c}}};
  }
  std::shared_ptr<Prepared> prepare([[maybe_unused]] std::span<const TensorSpec> inputs,
                                    [[maybe_unused]] const Context& context) const override {
#if EPITAXY_HAS_ONEDNN
    if (context.device().kind == DeviceKind::cpu && !context.reference)
      return cpu_prepare_conv2d(Conv2dPass::input_gradient, problem(inputs));
#endif
    return nullptr;
  }
  std::vector<OperationPtr> candidates(std::span<const TensorSpec> inputs, const Context& context) const override {
    std::vector<OperationPtr> result;
    if (context.device().kind == DeviceKind::cpu) return result;
    for (const auto& plan : epitaxy::candidates(Conv2dPass::input_gradient, problem(inputs), *context.stream.profile))
      result.push_back(std::make_shared<ConvTranspose2d>(options_, plan));
    return result;
  }
  std::string variant() const override;
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context& context,
                              [[maybe_unused]] const Prepared* prepared) const override {
#if EPITAXY_HAS_ONEDNN
    if (prepared) return cpu_conv2d_workspace_bytes(*prepared);
#endif
    if (context.device().kind == DeviceKind::cpu) return 0;
    const Conv2dProblem d = problem(inputs);
    return conv2d_workspace_bytes(Conv2dPass::input_gradient, d, plan_for(d, context));
  }
  void run(const Call& call) const override;
  void differentiate(GradientBuilder& builder) const override {
    const ValueId x = builder.input(0), w = builder.input(1), dy = builder.gradient(0);
    const Shape& filter = builder.spec(w).shape;
    const Conv2dOptions whole{.stride = {filter[1], filter[2]}, .tf32 = options_.tf32};
    const std::int64_t rows = filter[1], columns = filter[2];
    if (builder.wants(0)) builder.set(0, builder.emit(conv2d(whole), {dy, w})[0]);
    if (builder.wants(1)) builder.set(1, builder.emit(conv2d_filter_gradient(whole, rows, columns), {dy, x})[0]);
    if (builder.results().size() > 2 && builder.wants(2)) builder.set(2, builder.emit(channel_sum(), {dy})[0]);
  }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    const Conv2dProblem d = problem(inputs);
    Cost cost = Operation::cost(inputs);
    cost.flops = 2.0 * static_cast<double>(d.n * d.h * d.w) * static_cast<double>(d.c * d.k);
    return cost;
  }
  /// As conv2d's; on a CPU a bias on a 16-bit result is a second rounding.
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    const Conv2dProblem d = problem(inputs);
    const auto length = static_cast<double>(d.k);
    const double terms = 4 + std::sqrt(length) + length / 16;
    if (d.tf32) return {2, 1 + terms * 0x1p-13, Tolerance::Magnitude::absolute_inputs, 0x1p-11};
    if (inputs.size() == 3 && d.dtype != DType::fp32) return {1, 1.5, Tolerance::Magnitude::absolute_inputs, unit_roundoff(d.dtype)};
    return {2, terms, Tolerance::Magnitude::absolute_inputs, 0x1p-24};
  }

 private:
  /// The convolution from y [n,h,w,c] to x [n,p,q,k] whose input gradient this is.
  Conv2dProblem problem(std::span<const TensorSpec> inputs) const {
    require_inputs(kName, inputs.size(), 2, 3);
    const Shape &x = inputs[0].shape, &w = inputs[1].shape;
    require(x.rank() == 4 && w.rank() == 4 && x[3] == w[0] && inputs[0].dtype == inputs[1].dtype, kName,
            ": x [N, H, W, C] and w [C, R, S, K] must agree in C and in dtype, got ", inputs[0], " and ", inputs[1]);
    require(x.count() > 0 && w.count() > 0, kName, ": x ", inputs[0], " or w ", inputs[1], " is empty");
    return conv2d_problem(Conv2dPass::input_gradient, {.stride = {w[1], w[2]}, .tf32 = options_.tf32}, {x[1] * w[1], x[2] * w[2]},
                          inputs.first(2));
  }
  Conv2dPlan plan_for(const Conv2dProblem& d, const Context& context) const {
    return plan_ ? *plan_ : choose(Conv2dPass::input_gradient, d, *context.stream.profile);
  }

  ConvTranspose2dOptions options_;
  std::optional<Conv2dPlan> plan_;
};

void ConvTranspose2d::run(const Call& call) const {
  const Tensor &x = call.inputs[0], &w = call.inputs[1], &y = call.outputs[0];
  const std::array<TensorSpec, 2> specs{x.spec(), w.spec()};
  const float* bias = call.inputs.size() == 3 ? call.inputs[2].as<float>() : nullptr;
  Conv2dArgs args{Conv2dPass::input_gradient, problem(specs)};
  args.dy = x.data();
  args.filter = w.data();
  args.result = y.data();
  if (call.context.device().kind == DeviceKind::cpu) {
#if EPITAXY_HAS_ONEDNN
    if (call.prepared) {
      cpu_run_conv2d(*call.prepared, args, call.workspace.data());
      if (bias) conv_transpose2d_bias<Host>({y.data(), bias, y.count() / y.dim(3), y.dim(3), y.dtype()}, call.context.stream);
      return;
    }
#endif
    const Conv2dProblem& d = args.problem;
    return epitaxy::conv_transpose2d<Reference>({x.data(), w.data(), bias, y.data(), d.n, d.p, d.q, d.k, d.r, d.s, d.c, d.dtype, d.tf32},
                                                call.context.stream);
  }
  args.plan = plan_for(args.problem, call.context);
  args.workspace = static_cast<float*>(call.workspace.data());
  args.problem.bias = bias != nullptr, args.bias = bias;
  const auto on = [&]<class World>() { epitaxy::conv2d<World>(args, call.context.stream); };
  if constexpr (kHasEmulator)
    if (call.context.device().kind == DeviceKind::emulated) return on.template operator()<Emulated>();
  if constexpr (kHasCuda)
    if (call.context.device().kind == DeviceKind::cuda) return on.template operator()<Cuda>();
  fail("device ", epitaxy::name(call.context.device()), " is not in this build");
}

std::string ConvTranspose2d::variant() const {
  return plan_ ? conv2d_with_plan(Conv2dPass::input_gradient, {}, {1, 1}, *plan_)->variant() : "";
}

}  // namespace

OperationPtr conv_transpose2d(const ConvTranspose2dOptions& options) { return std::make_shared<ConvTranspose2d>(options); }

}  // namespace epitaxy
