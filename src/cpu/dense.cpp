// Matrix products on oneDNN, on plain row-major memory: its brgemm kernels copy blocks themselves, and reordering a whole weight matrix
// first never paid. fp16, and bf16 below AVX-512, are converted to fp32, computed there and rounded once. ReLU follows on its own:
// oneDNN's turns NaN into 0.
#include "cpu/dense.h"

#include "cpu/onednn.h"
#include "cpu/threads.h"
#include "kernels/activation.h"
#include "kernels/cast.h"

namespace epitaxy {

#if EPITAXY_HAS_ONEDNN

namespace {

using namespace onednn;

/// Below this many multiply-adds waking a second thread costs more than it gives.
constexpr double kWorkPerThread = 4e6;

struct OnednnDense final : public Prepared {
  OnednnDense(const GemmProblem& p, Kernel kernel, int count) : problem(p), runner(std::move(kernel), Direction::forward), threads(count) {}

  GemmProblem problem;
  Runner runner;
  int threads;
  DType compute = DType::fp32, result = DType::fp32;
  std::int64_t a_count = 0, b_count = 0;
  std::size_t a_at = 0, b_at = 0, c_at = 0, scratch_at = 0, bytes = 0;
};

/// [rows, columns] as the product sees it; stored by rows, or by columns where transposed.
Layout matrix(std::int64_t rows, std::int64_t columns, bool transposed, std::int64_t leading, DType type) {
  return layout({rows, columns}, element_of(type), transposed ? Extents{1, leading} : Extents{leading, 1});
}

}  // namespace

std::shared_ptr<Prepared> cpu_prepare_dense(const GemmProblem& p) {
  pin_cpu_threads();
  const auto work = static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  const int threads = std::max(1, static_cast<int>(std::min<double>(cpu_threads(), work / kWorkPerThread)));
  const ThreadScope scope(threads);
  const bool as_is = p.input == DType::fp32 || (p.input == DType::bf16 && has_bf16());
  const DType compute = as_is ? p.input : DType::fp32;
  const DType result = as_is && p.output != DType::fp16 ? p.output : DType::fp32;
  if (p.ldc != p.n && (result != p.output || p.activation != Activation::none)) return nullptr;
  const auto kernel = matmul(matrix(p.m, p.k, p.transpose_a, p.lda, compute), matrix(p.k, p.n, p.transpose_b, p.ldb, compute),
                             matrix(p.m, p.n, false, p.ldc, result), p.bias);
  if (!kernel) return nullptr;

  auto made = std::make_shared<OnednnDense>(p, *kernel, threads);
  made->compute = compute, made->result = result;
  const auto place = [&](std::int64_t count, std::size_t size) {
    const std::size_t at = made->bytes;
    made->bytes += (static_cast<std::size_t>(count) * size + 63) / 64 * 64;
    return at;
  };
  if (compute != p.input) {
    made->a_count = (p.transpose_a ? p.k : p.m) * p.lda, made->b_count = (p.transpose_b ? p.n : p.k) * p.ldb;
    if (p.lda != (p.transpose_a ? p.m : p.k) || p.ldb != (p.transpose_b ? p.k : p.n)) return nullptr;
    made->a_at = place(made->a_count, sizeof(float)), made->b_at = place(made->b_count, sizeof(float));
  }
  if (result != p.output) made->c_at = place(p.m * p.n, sizeof(float));
  made->scratch_at = place(static_cast<std::int64_t>(kernel->scratch_bytes), 1);
  return made;
}

std::size_t cpu_dense_workspace_bytes(const Prepared& prepared) { return static_cast<const OnednnDense&>(prepared).bytes; }

void cpu_run_dense(Prepared& prepared, const DenseArgs& args, void* workspace) {
  auto& self = static_cast<OnednnDense&>(prepared);
  const GemmProblem& p = self.problem;
  auto* memory = static_cast<std::byte*>(workspace);
  const ThreadScope scope(self.threads);
  Operands operands{args.a, args.b, args.c, args.bias, memory + self.scratch_at};
  if (self.compute != p.input) {
    cast_forward<Host>({args.a, memory + self.a_at, self.a_count, p.input, self.compute}, {});
    cast_forward<Host>({args.b, memory + self.b_at, self.b_count, p.input, self.compute}, {});
    operands.x = memory + self.a_at, operands.filter = memory + self.b_at;
  }
  if (self.result != p.output) operands.y = memory + self.c_at;
  self.runner.run(operands);
  if (self.result != p.output) cast_forward<Host>({memory + self.c_at, args.c, p.m * p.n, self.result, p.output}, {});
  if (p.activation == Activation::relu) activation_forward<Host>({args.c, nullptr, args.c, p.m * p.n, p.output, p.activation, 0.0f}, {});
}

#else

std::shared_ptr<Prepared> cpu_prepare_dense(const GemmProblem&) { return nullptr; }
std::size_t cpu_dense_workspace_bytes(const Prepared&) { return 0; }
void cpu_run_dense(Prepared&, const DenseArgs&, void*) {}

#endif

}  // namespace epitaxy
