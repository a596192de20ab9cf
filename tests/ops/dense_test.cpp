// Dense layers: hand-computed values, the set-up that cuBLASLt is given, finite differences, every device against the reference.
#include "epitaxy/ops/dense.h"

#include <limits>

#include "epitaxy/ops/graph.h"
#include "kernels/dense.h"
#include "tests/cases/activation.h"
#include "tests/cases/dense.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

const Context kReference{&cpu_backend(), {}, true};

TEST(Dense, HandValues) {
  const Tensor x = values(DType::fp32, {2, 3}, {1, 2, 3, -1, 0, 1}), w = values(DType::fp32, {2, 3}, {1, 0, -1, 2, 1, 0.5});
  const Tensor bias = values(DType::fp32, {2}, {0.5, -7}), dy = values(DType::fp32, {2, 2}, {1, 2, 3, -4});
  const auto of = [&](const OperationPtr& op, const std::vector<Tensor>& inputs) { return run(*op, inputs, kReference)[0]; };
  EXPECT_TRUE(same(of(dense(), {x, w}), values(DType::fp32, {2, 2}, {-2, 5.5, -2, -1.5})));
  EXPECT_TRUE(same(of(dense(), {x, w, bias}), values(DType::fp32, {2, 2}, {-1.5, -1.5, -1.5, -8.5})));
  EXPECT_TRUE(same(of(dense({.activation = Activation::relu}), {x, w}), values(DType::fp32, {2, 2}, {0, 5.5, 0, 0})));
  EXPECT_TRUE(same(of(dense_input_gradient(), {dy, w}), values(DType::fp32, {2, 3}, {5, 2, 0, -5, -4, -5})));
  EXPECT_TRUE(same(of(dense_weight_gradient(), {x, dy}), values(DType::fp32, {2, 3}, {-2, 2, 6, 6, 4, 2})));
}

/// What BLAS is told: column-major, the operands swapped, each stored matrix seen as its transpose.
TEST(Dense, BlasDescription) {
  const BlasGemm y = blas_gemm(dense_problem(DensePass::forward, 5, 3, 2, DType::bf16, DType::bf16, true));
  EXPECT_EQ(std::tuple(y.m, y.n, y.k, y.transpose_a, y.transpose_b, y.tf32), std::tuple(2, 5, 3, true, false, false));
  EXPECT_EQ(y.a, (BlasGemm::Matrix{3, 2, 3, DType::bf16}));  // w [2, 3]
  EXPECT_EQ(y.b, (BlasGemm::Matrix{3, 5, 3, DType::bf16}));  // x [5, 3]
  EXPECT_EQ(y.d, (BlasGemm::Matrix{2, 5, 2, DType::bf16}));
  const BlasGemm dx = blas_gemm(dense_problem(DensePass::input_gradient, 5, 3, 2, DType::fp32, DType::fp32, true));
  EXPECT_EQ(std::tuple(dx.m, dx.n, dx.k, dx.transpose_a, dx.transpose_b, dx.tf32), std::tuple(3, 5, 2, false, false, true));
  EXPECT_EQ(dx.a, (BlasGemm::Matrix{3, 2, 3, DType::fp32}));  // w
  EXPECT_EQ(dx.b, (BlasGemm::Matrix{2, 5, 2, DType::fp32}));  // dy [5, 2]
  EXPECT_EQ(dx.d, (BlasGemm::Matrix{3, 5, 3, DType::fp32}));
  const BlasGemm dw = blas_gemm(dense_problem(DensePass::weight_gradient, 5, 3, 2, DType::fp16, DType::fp32, false));
  EXPECT_EQ(std::tuple(dw.m, dw.n, dw.k, dw.transpose_a, dw.transpose_b), std::tuple(3, 2, 5, false, true));
  EXPECT_EQ(dw.a, (BlasGemm::Matrix{3, 5, 3, DType::fp16}));  // x
  EXPECT_EQ(dw.b, (BlasGemm::Matrix{2, 5, 2, DType::fp16}));  // dy
  EXPECT_EQ(dw.d, (BlasGemm::Matrix{3, 2, 3, DType::fp32}));
}

/// All four transpositions, rows padded to longer leading dimensions, bias and ReLU: row-major loops against the column-major reading.
TEST(Dense, InterpreterReadsTransposesAndLeadingDimensions) {
  const std::int64_t m = 3, n = 4, k = 5;
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true})
      for (const bool end : {false, true}) {
        SCOPED_TRACE(text("transpose_a ", transpose_a, ", transpose_b ", transpose_b, ", bias and ReLU ", end));
        GemmProblem p{.m = m, .n = n, .k = k, .transpose_a = transpose_a, .transpose_b = transpose_b};
        p.lda = (transpose_a ? m : k) + 2, p.ldb = (transpose_b ? k : n) + 1, p.ldc = n + 3;
        p.bias = end, p.activation = end ? Activation::relu : Activation::none;
        const Tensor a = make({DType::fp32, {transpose_a ? k : m, p.lda}}, Fill::integers(-3, 3), 1);
        const Tensor b = make({DType::fp32, {transpose_b ? n : k, p.ldb}}, Fill::integers(-3, 3), 2);
        const Tensor bias = make({DType::fp32, {n}}, Fill::integers(-3, 3), 3);
        const Tensor want = make({DType::fp32, {m, p.ldc}}, Fill::constant(99), 0), got = make(want.spec(), Fill::constant(99), 0);
        dense_gemm<Reference>(p, {a.data(), b.data(), bias.as<float>(), want.data()}, {});
        interpret_gemm(blas_gemm(p), blas_arguments({a.data(), b.data(), bias.as<float>(), got.data()}));
        EXPECT_TRUE(same(got, want));
        double sum = end ? numbers(bias)[1] : 0;  // element (2, 1), written out
        const auto as = numbers(a), bs = numbers(b);
        for (std::int64_t l = 0; l < k; ++l)
          sum += as[static_cast<std::size_t>(transpose_a ? l * p.lda + 2 : 2 * p.lda + l)] *
                 bs[static_cast<std::size_t>(transpose_b ? p.ldb + l : l * p.ldb + 1)];
        EXPECT_EQ(numbers(want)[static_cast<std::size_t>(2 * p.ldc + 1)], end && sum < 0 ? 0 : sum);
      }
}

TEST(Dense, InterpreterRefusesWhatBlasWould) {
  const float memory[64] = {};
  float out[64] = {};
  BlasGemm gemm = blas_gemm(dense_problem(DensePass::forward, 2, 3, 4, DType::fp32, DType::fp32, false));
  const DenseArgs args{memory, memory, memory, out};
  EXPECT_NO_THROW(interpret_gemm(gemm, args));
  BlasGemm wrong = gemm;
  wrong.transpose_a = false;
  EXPECT_THROW(interpret_gemm(wrong, args), Error);
  wrong = gemm;
  wrong.a.leading = 2;
  EXPECT_THROW(interpret_gemm(wrong, args), Error);
  wrong = gemm;
  wrong.d.rows = 2;
  EXPECT_THROW(interpret_gemm(wrong, args), Error);
  wrong = blas_gemm(dense_problem(DensePass::forward, 2, 3, 4, DType::bf16, DType::bf16, false));
  wrong.bias = true;
  EXPECT_THROW(interpret_gemm(wrong, args), Error);
}

TEST(Dense, Gradient) {
  const Tensor x = make({DType::fp32, {3, 4}}, Fill::normal(), 1), w = make({DType::fp32, {5, 4}}, Fill::normal(), 2),
               bias = make({DType::fp32, {5}}, Fill::normal(), 3);
  check_gradient(dense(), {x, w, bias}, {0, 1, 2});
  check_gradient(dense(), {x, w}, {0, 1});
  check_gradient(dense({.activation = Activation::relu}), {x, w, bias}, {0, 1, 2}, 0, 1e-3);
}

TEST(Dense, Devices) {
  for (const DType dtype : kFloatTypes)
    for (const DenseCase& c : kDenseCases) {
      SCOPED_TRACE(text(name(dtype), " ", c.rows, " x ", c.features, " -> ", c.outputs));
      const Tensor x = make({dtype, {c.rows, c.features}}, Fill::normal(0.2), 1),
                   w = make({dtype, {c.outputs, c.features}}, Fill::normal(0.1), 2);
      const Tensor bias = make({DType::fp32, {c.outputs}}, Fill::normal(2), 3), dy = make({dtype, {c.rows, c.outputs}}, Fill::normal(), 4);
      check_devices(*dense(), {x, w});
      check_devices(*dense(), {x, w, bias});
      check_devices(*dense({.activation = Activation::relu}), {x, w, bias}, c.rows <= 2);
      check_devices(*dense({.activation = Activation::relu}), {x, w}, c.rows <= 2);
      check_devices(*dense_input_gradient(), {dy, w});
      check_devices(*dense_weight_gradient(), {x, dy});
      if (dtype != DType::fp32) continue;
      check_devices(*dense({.tf32 = true}), {x, w, bias});
      check_devices(*dense_input_gradient({.tf32 = true}), {dy, w});
      check_devices(*dense_weight_gradient({.tf32 = true}), {x, dy});
    }
}

/// A 16-bit layer keeps its fp32 bias: rounded to bf16 first, 256.5 would become 256 or 258, and the output be 0.
TEST(Dense, BiasIsNotRounded) {
  const Tensor x = values(DType::bf16, {1, 1}, {-256}), w = values(DType::bf16, {1, 1}, {1}), bias = values(DType::fp32, {1}, {256.5});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    EXPECT_TRUE(same(run_on(device, *dense(), {x, w, bias})[0], values(DType::bf16, {1, 1}, {0.5}))) << name(device);
  }
}

TEST(Dense, ExactOnIntegers) {
  for (const DType dtype : kFloatTypes) {
    const Tensor x = make({dtype, {9, 20}}, Fill::integers(-2, 2), 1), w = make({dtype, {6, 20}}, Fill::integers(-2, 2), 2);
    const Tensor bias = make({DType::fp32, {6}}, Fill::integers(-4, 4), 3);
    const Tensor want = run(*dense(), {x, w, bias}, kReference)[0];
    for (const Device device : devices()) {
      if (!why_absent(device).empty()) continue;
      EXPECT_TRUE(same(run_on(device, *dense(), {x, w, bias})[0], want)) << name(device);
    }
  }
}

TEST(Dense, NaNStaysInItsRowAndPassesReLU) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const DType dtype : kFloatTypes)
    check_devices(*dense({.activation = Activation::relu}),
                  {values(dtype, {2, 2}, {nan, 1, 1, 2}), values(dtype, {2, 2}, {1, 1, -1, 3}), values(DType::fp32, {2}, {0.5, 1})}, false,
                  true);
}

TEST(Dense, Rejects) {
  const TensorSpec x{DType::fp32, {4, 3}}, w{DType::fp32, {2, 3}}, bf16{DType::bf16, {2, 3}}, bias{DType::fp32, {2}};
  EXPECT_EQ(dense()->outputs(std::vector<TensorSpec>{x, w, bias})[0], (TensorSpec{DType::fp32, {4, 2}}));
  EXPECT_THROW(dense({.activation = Activation::gelu}), Error);
  EXPECT_THROW(dense()->outputs(std::vector<TensorSpec>{x, bf16}), Error);
  EXPECT_THROW(dense()->outputs(std::vector<TensorSpec>{x, {DType::fp32, {2, 4}}}), Error);
  EXPECT_THROW(dense()->outputs(std::vector<TensorSpec>{x, w, x}), Error);
  EXPECT_THROW(dense()->outputs(std::vector<TensorSpec>{x}), Error);
  EXPECT_THROW(dense_input_gradient()->outputs(std::vector<TensorSpec>{x, w}), Error);
  EXPECT_THROW(dense_weight_gradient()->outputs(std::vector<TensorSpec>{x, w}), Error);
}

}  // namespace
}  // namespace epitaxy::test
