// The fast CPU matrix product against the reference.
#include "cpu/dense.h"

#include "epitaxy/ops/dense.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr std::array kTypes{DType::fp32, DType::bf16, DType::fp16};
const Device kCpu{};

void check(const Operation& operation, const std::vector<Tensor>& inputs) {
  EXPECT_TRUE(meets_tolerance(operation, inputs, run_on(kCpu, operation, inputs), true));
}

struct Size {
  std::int64_t rows, features, outputs;
};
constexpr std::array<Size, 9> kSizes{
    {{1, 1, 1}, {1, 16, 3}, {3, 1, 5}, {7, 13, 11}, {16, 16, 16}, {32, 784, 64}, {33, 65, 129}, {32, 64, 1}, {64, 2048, 96}}};

TEST(CpuDense, MeetsTheReference) {
  for (const auto [rows, features, outputs] : kSizes)
    for (const DType dtype : kTypes) {
      SCOPED_TRACE(text(rows, " x ", features, " to ", outputs, " ", name(dtype)));
      const Tensor x = make({dtype, {rows, features}}, Fill::normal(), 1), w = make({dtype, {outputs, features}}, Fill::normal(), 2);
      const Tensor bias = make({DType::fp32, {outputs}}, Fill::normal(), 3), dy = make({dtype, {rows, outputs}}, Fill::normal(), 4);
      check(*dense(), {x, w});
      check(*dense({Activation::none, false}), {x, w, bias});
      check(*dense({Activation::relu, false}), {x, w, bias});
      check(*dense_input_gradient(), {dy, w});
      check(*dense_weight_gradient(), {x, dy});
    }
}

TEST(CpuDense, SmallIntegersAreExact) {
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(name(dtype));
    const Tensor x = make({dtype, {17, 40}}, Fill::integers(-2, 2), 5), w = make({dtype, {23, 40}}, Fill::integers(-1, 1), 6);
    EXPECT_TRUE(same(run_on(kCpu, *dense(), {x, w})[0], run_on(kCpu, *dense(), {x, w}, true)[0]));
  }
}

/// Rows of a larger matrix: leading dimensions beyond the row, which a dense layer itself never has.
TEST(CpuDense, LeadingDimensions) {
  GemmProblem problem = dense_problem(DensePass::forward, 5, 9, 6, DType::fp32, DType::fp32, false);
  problem.lda = 12, problem.ldb = 10, problem.ldc = 8;
  const auto prepared = cpu_prepare_dense(problem);
  if (!prepared) GTEST_SKIP() << "this build has no fast product";
  const Tensor a = make({DType::fp32, {5, 12}}, Fill::normal(), 7), b = make({DType::fp32, {6, 10}}, Fill::normal(), 8);
  const Tensor c = make({DType::fp32, {5, 8}}, Fill::constant(3), 0), want = make({DType::fp32, {5, 8}}, Fill::constant(3), 0);
  const Tensor workspace(cpu_backend(), {DType::uint8, {static_cast<std::int64_t>(cpu_dense_workspace_bytes(*prepared)) + 1}});
  cpu_run_dense(*prepared, {a.data(), b.data(), nullptr, c.data()}, workspace.data());
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 6; ++j) {
      double sum = 0;
      for (int k = 0; k < 9; ++k) sum += static_cast<double>(a.as<float>()[12 * i + k]) * b.as<float>()[10 * j + k];
      want.as<float>()[8 * i + j] = static_cast<float>(sum);
    }
  EXPECT_TRUE(close(c, want, 1e-5));
}

#if EPITAXY_HAS_ONEDNN
TEST(CpuDense, IsFast) {
  for (const DType dtype : kTypes)
    for (const DensePass pass : {DensePass::forward, DensePass::input_gradient, DensePass::weight_gradient})
      EXPECT_NE(cpu_prepare_dense(dense_problem(pass, 32, 784, 64, dtype, pass == DensePass::weight_gradient ? DType::fp32 : dtype, false)),
                nullptr)
          << name(dtype);
}
#endif

}  // namespace
}  // namespace epitaxy::test
