#include "epitaxy/ops/dense.h"

#include "cpu/dense.h"
#include "epitaxy/ops/reduce.h"
#include "kernels/dense.h"
#include "ops/dispatch.h"
#if EPITAXY_HAS_CUDA
#include "gpu/gemm.h"
#endif

namespace epitaxy {

namespace {

/// The product of one pass on every device; the passes differ in shapes and options alone.
class DenseProduct : public Operation {
 public:
  DenseProduct(DensePass pass, const DenseOptions& options) : pass_(pass), options_(options) {
    require(options.activation == Activation::none || options.activation == Activation::relu,
            "dense: activation must be none or relu, got ", epitaxy::name(options.activation));
  }
  std::string name() const override {
    return pass_ == DensePass::forward ? "dense" : pass_ == DensePass::input_gradient ? "dense_input_gradient" : "dense_weight_gradient";
  }

  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    const std::string op = name();
    require_inputs(op.c_str(), inputs.size(), 2, pass_ == DensePass::forward ? 3 : 2);
    const TensorSpec &a = inputs[0], &b = inputs[1];
    require(is_floating(a.dtype) && a.dtype == b.dtype && a.shape.rank() == 2 && b.shape.rank() == 2 && a.shape.count() > 0 &&
                b.shape.count() > 0,
            op, ": needs two floating matrices of one type, not empty, got ", a, " and ", b);
    switch (pass_) {
      case DensePass::forward:
        require(a.shape[1] == b.shape[1], "dense: x [N, F] and w [O, F] must agree in F, got ", a, " and ", b);
        if (inputs.size() == 3)
          require(inputs[2] == TensorSpec{DType::fp32, {b.shape[0]}}, "dense: bias must be fp32 [", b.shape[0], "], got ", inputs[2]);
        return {{a.dtype, {a.shape[0], b.shape[0]}}};
      case DensePass::input_gradient:
        require(a.shape[1] == b.shape[0], "dense_input_gradient: dy [N, O] and w [O, F] must agree in O, got ", a, " and ", b);
        return {{a.dtype, {a.shape[0], b.shape[1]}}};
      case DensePass::weight_gradient: break;
    }
    require(a.shape[0] == b.shape[0], "dense_weight_gradient: x [N, F] and dy [N, O] must agree in N, got ", a, " and ", b);
    return {{DType::fp32, {b.shape[1], a.shape[1]}}};
  }

  std::shared_ptr<Prepared> prepare(std::span<const TensorSpec> inputs, const Context& context) const override {
    if (context.device().kind == DeviceKind::cpu && !context.reference) return cpu_prepare_dense(problem(inputs));
#if EPITAXY_HAS_CUDA
    if (context.device().kind == DeviceKind::cuda) return cuda_prepare_gemm(blas_gemm(library_problem(inputs)));
#endif
    return nullptr;
  }

  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context& context,
                              [[maybe_unused]] const Prepared* prepared) const override {
    if (context.device().kind == DeviceKind::cpu) return prepared ? cpu_dense_workspace_bytes(*prepared) : 0;
    std::size_t bytes = product_bytes(problem(inputs));
#if EPITAXY_HAS_CUDA
    if (context.device().kind == DeviceKind::cuda) bytes += cuda_gemm_workspace_bytes(*prepared);
#endif
    return bytes;
  }

  void run(const Call& call) const override {
    const GemmProblem whole = problem_of(call);
    DenseArgs args{call.inputs[0].data(), call.inputs[1].data(), whole.bias ? call.inputs[2].as<float>() : nullptr, call.outputs[0].data()};
    if (pass_ == DensePass::weight_gradient) std::swap(args.a, args.b);  // dw = dy^T x
    if (call.context.device().kind == DeviceKind::cpu) {
      if (call.prepared) return cpu_run_dense(*call.prepared, args, call.workspace.data());
      return dense_gemm<Reference>(whole, args, call.context.stream);
    }
    if (needs_epilogue(whole)) {
      auto* product = static_cast<float*>(call.workspace.data());
      run_library(call, without_epilogue(whole), {args.a, args.b, nullptr, product});
      const DenseEpilogueArgs end{product, args.bias, args.c, whole.m, whole.n, whole.output, whole.activation};
      if constexpr (kHasEmulator)
        if (call.context.device().kind == DeviceKind::emulated) return dense_epilogue<Emulated>(end, call.context.stream);
      if constexpr (kHasCuda) return dense_epilogue<Cuda>(end, call.context.stream);
    }
    run_library(call, whole, args);
  }

  Cost cost(std::span<const TensorSpec> inputs) const override {
    const GemmProblem p = problem(inputs);
    return {2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k), Operation::cost(inputs).bytes};
  }

  /// tf32 rounds both factors of a product, which outweighs k roundings of the sum.
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    const GemmProblem p = problem(inputs);
    const double k = static_cast<double>(p.k);
    if (p.tf32) return {.terms = 1 + k * 0x1p-13, .magnitude = Tolerance::Magnitude::absolute_inputs, .math_roundoff = 0x1p-11};
    return {.factor = 2, .terms = k, .magnitude = Tolerance::Magnitude::absolute_inputs};
  }

 private:
  GemmProblem problem(const Shape& a, const Shape& b, DType input, bool bias) const {
    switch (pass_) {
      case DensePass::forward: {
        GemmProblem p = dense_problem(pass_, a[0], a[1], b[0], input, input, options_.tf32);
        p.bias = bias, p.activation = options_.activation;
        return p;
      }
      case DensePass::input_gradient: return dense_problem(pass_, a[0], b[1], a[1], input, input, options_.tf32);
      case DensePass::weight_gradient: break;
    }
    return dense_problem(pass_, a[0], a[1], b[1], input, DType::fp32, options_.tf32);
  }
  GemmProblem problem(std::span<const TensorSpec> inputs) const {
    return problem(inputs[0].shape, inputs[1].shape, inputs[0].dtype, inputs.size() == 3);
  }
  GemmProblem problem_of(const Call& call) const {
    return problem(call.inputs[0].shape(), call.inputs[1].shape(), call.inputs[0].dtype(), call.inputs.size() == 3);
  }
  /// What cuBLASLt, or its interpreter, is asked for.
  GemmProblem library_problem(std::span<const TensorSpec> inputs) const {
    const GemmProblem whole = problem(inputs);
    return needs_epilogue(whole) ? without_epilogue(whole) : whole;
  }
  /// The fp32 product before the epilogue, at the start of the workspace.
  static std::size_t product_bytes(const GemmProblem& p) {
    return needs_epilogue(p) ? (static_cast<std::size_t>(p.m * p.n) * sizeof(float) + 255) / 256 * 256 : 0;
  }

  void run_library(const Call& call, const GemmProblem& gemm, const DenseArgs& args) const {
    const BlasGemm blas = blas_gemm(gemm);
    if (call.context.device().kind == DeviceKind::emulated) return interpret_gemm(blas, blas_arguments(args));
#if EPITAXY_HAS_CUDA
    auto* scratch = static_cast<std::byte*>(call.workspace.data()) + product_bytes(problem_of(call));
    cuda_run_gemm(*call.prepared, blas_arguments(args), scratch, call.context.stream);
#endif
  }

  DensePass pass_;

 protected:
  DenseOptions options_;
};

class Dense final : public DenseProduct {
 public:
  explicit Dense(const DenseOptions& options) : DenseProduct(DensePass::forward, options) {}
  const DenseOptions& options() const { return options_; }
  std::string details() const override { return options_.activation == Activation::relu ? "relu" : ""; }
  void differentiate(GradientBuilder& builder) const override {
    ValueId dy = builder.gradient(0);
    if (options_.activation == Activation::relu) dy = builder.emit(activation_gradient(Activation::relu), {builder.output(0), dy})[0];
    const DenseOptions plain{.tf32 = options_.tf32};
    if (builder.wants(0)) builder.set(0, builder.emit(dense_input_gradient(plain), {dy, builder.input(1)})[0]);
    if (builder.wants(1)) builder.set(1, builder.emit(dense_weight_gradient(plain), {builder.input(0), dy})[0]);
    if (builder.results().size() > 2 && builder.wants(2)) builder.set(2, builder.emit(channel_sum(), {dy})[0]);
  }
};

}  // namespace

OperationPtr dense(const DenseOptions& options) { return std::make_shared<Dense>(options); }
OperationPtr dense_input_gradient(const DenseOptions& options) {
  return std::make_shared<DenseProduct>(DensePass::input_gradient, options);
}
OperationPtr dense_weight_gradient(const DenseOptions& options) {
  return std::make_shared<DenseProduct>(DensePass::weight_gradient, options);
}
const DenseOptions* dense_options(const Operation& operation) {
  const auto* dense = dynamic_cast<const Dense*>(&operation);
  return dense ? &dense->options() : nullptr;
}

}  // namespace epitaxy
