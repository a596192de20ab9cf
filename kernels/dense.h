// The matrix product behind dense layers: one description that cuBLASLt, the emulated device's interpreter, the CPU path and the
// reference all read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/ops/activation.h"

namespace epitaxy {

/// Which product of a dense layer with x [N,F], w [O,F], y and dy [N,O]:
///   forward          y [N,O]  = x w^T     a = x,  b = w,            transpose_b;  m,n,k = N,O,F
///   input_gradient   dx [N,F] = dy w      a = dy, b = w;                          m,n,k = N,F,O
///   weight_gradient  dw [O,F] = dy^T x    a = dy, b = x, transpose_a;             m,n,k = O,F,N
enum class DensePass : std::uint8_t { forward, input_gradient, weight_gradient };

/// c [m,n] = activation(a' b' + bias), where a' is a [m,k] or the transpose of a [k,m], and b' is b [k,n] or the transpose of b [n,k].
/// Everything is row-major; a leading dimension is the elements from one stored row to the next. Accumulation in fp32, one rounding.
struct GemmProblem {
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  std::int64_t lda = 0, ldb = 0, ldc = 0;
  DType input = DType::fp32;                 // of a and b
  DType output = DType::fp32;                // of c
  bool bias = false;                         // fp32 [n], added to every row
  Activation activation = Activation::none;  // none or relu
  bool tf32 = false;                         // fp32 inputs may be rounded to tf32
  bool operator==(const GemmProblem&) const = default;
};

struct DenseArgs {
  const void* a = nullptr;
  const void* b = nullptr;
  const float* bias = nullptr;  // where the problem has one
  void* c = nullptr;
};

/// The problem of one pass of a dense layer with x [rows, features] and w [outputs, features], both of `input`'s type.
inline GemmProblem dense_problem(DensePass pass, std::int64_t rows, std::int64_t features, std::int64_t outputs, DType input, DType output,
                                 bool tf32) {
  GemmProblem p{.input = input, .output = output, .tf32 = tf32 && input == DType::fp32};
  switch (pass) {
    case DensePass::forward: p.m = rows, p.n = outputs, p.k = features, p.transpose_b = true, p.lda = p.ldb = features; break;
    case DensePass::input_gradient: p.m = rows, p.n = features, p.k = outputs, p.lda = outputs, p.ldb = features; break;
    case DensePass::weight_gradient:
      p.m = outputs, p.n = features, p.k = rows, p.transpose_a = true, p.lda = outputs, p.ldb = features;
      break;
  }
  p.ldc = p.n;
  return p;
}

/// The same product as BLAS is told it: column-major d [m,n] = op(a) op(b), stored matrices by rows, columns and leading dimension.
/// Row-major memory read column-major is the transpose, so c^T = b'^T a'^T: operands swap, transposes stay.
struct BlasGemm {
  struct Matrix {
    std::int64_t rows, columns, leading;
    DType dtype;
    bool operator==(const Matrix&) const = default;
  };
  std::int64_t m, n, k;
  bool transpose_a, transpose_b;
  Matrix a, b, d;
  bool bias;  // fp32 [m], added to every column
  bool relu;
  bool tf32;
};

inline BlasGemm blas_gemm(const GemmProblem& p) {
  // A stored row-major matrix with rows of `leading` elements is, column-major, its transpose with columns of that length.
  const auto stored = [&](std::int64_t rows, std::int64_t columns, std::int64_t leading, DType dtype) {
    return BlasGemm::Matrix{columns, rows, leading, dtype};
  };
  return {.m = p.n,
          .n = p.m,
          .k = p.k,
          .transpose_a = p.transpose_b,
          .transpose_b = p.transpose_a,
          .a = p.transpose_b ? stored(p.n, p.k, p.ldb, p.input) : stored(p.k, p.n, p.ldb, p.input),
          .b = p.transpose_a ? stored(p.k, p.m, p.lda, p.input) : stored(p.m, p.k, p.lda, p.input),
          .d = stored(p.m, p.n, p.ldc, p.output),
          .bias = p.bias,
          .relu = p.activation == Activation::relu,
          .tf32 = p.tf32};
}
/// BLAS's first operand is the row-major problem's second.
inline DenseArgs blas_arguments(const DenseArgs& args) { return {args.b, args.a, args.bias, args.c}; }
/// Runs a BLAS description by plain loops over column-major memory: cuBLASLt's stand-in on the emulated device.
void interpret_gemm(const BlasGemm& gemm, const DenseArgs& args);

/// cuBLASLt takes a bias of the output's type only. So that a 16-bit layer keeps its fp32 bias, the product then goes to fp32 scratch
/// [m,n] and dense_epilogue finishes it.
inline bool needs_epilogue(const GemmProblem& problem) { return problem.bias && problem.output != DType::fp32; }
/// What the library is then asked for.
inline GemmProblem without_epilogue(GemmProblem problem) {
  problem.output = DType::fp32, problem.bias = false, problem.activation = Activation::none;
  problem.ldc = problem.n;
  return problem;
}

/// y [rows, columns] = activation(z + bias), z fp32; rounded once.
struct DenseEpilogueArgs {
  const float* z;
  const float* bias;
  void* y;
  std::int64_t rows, columns;
  DType dtype;
  Activation activation;
};

template <class World>
void dense_gemm(const GemmProblem& problem, const DenseArgs& args, Stream stream);  // Reference
template <class World>
void dense_epilogue(const DenseEpilogueArgs& args, Stream stream);  // Cuda, Emulated

}  // namespace epitaxy
