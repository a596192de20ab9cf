// Matrix products: the reference in double, and the interpreter of BLAS descriptions that stands in for cuBLASLt on the emulated device.
#include "kernels/dense.h"

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void dense_gemm<Reference>(const GemmProblem& p, const DenseArgs& args, Stream) {
  with_float(p.input, [&]<class T>() {
    with_float(p.output, [&]<class Out>() {
      const T* a = static_cast<const T*>(args.a);
      const T* b = static_cast<const T*>(args.b);
      Out* c = static_cast<Out*>(args.c);
      for (std::int64_t i = 0; i < p.m; ++i)
        for (std::int64_t j = 0; j < p.n; ++j) {
          double sum = p.bias ? args.bias[j] : 0.0;
          for (std::int64_t l = 0; l < p.k; ++l) {
            const T left = p.transpose_a ? a[l * p.lda + i] : a[i * p.lda + l];
            const T right = p.transpose_b ? b[j * p.ldb + l] : b[l * p.ldb + j];
            sum += static_cast<double>(to_float(left)) * to_float(right);
          }
          if (p.activation == Activation::relu && sum <= 0) sum = 0;
          c[i * p.ldc + j] = round<Out>(static_cast<float>(sum));
        }
    });
  });
}

namespace {

/// op(matrix)(row, column) of column-major memory.
template <class T>
float element(const T* memory, const BlasGemm::Matrix& matrix, bool transposed, std::int64_t row, std::int64_t column, bool tf32) {
  const std::int64_t r = transposed ? column : row, c = transposed ? row : column;
  if (r < 0 || r >= matrix.rows || c < 0 || c >= matrix.columns || matrix.leading < matrix.rows)
    fail("interpret_gemm: element (", r, ", ", c, ") lies outside a matrix of ", matrix.rows, " x ", matrix.columns, ", leading dimension ",
         matrix.leading);
  const float value = to_float(memory[c * matrix.leading + r]);
  return tf32 ? round_tf32(value) : value;
}

}  // namespace

void interpret_gemm(const BlasGemm& gemm, const DenseArgs& args) {
  if (gemm.a.dtype != gemm.b.dtype) fail("interpret_gemm: operands are ", name(gemm.a.dtype), " and ", name(gemm.b.dtype));
  if (gemm.d.rows != gemm.m || gemm.d.columns != gemm.n || gemm.d.leading < gemm.m)
    fail("interpret_gemm: the result is ", gemm.d.rows, " x ", gemm.d.columns, ", the product ", gemm.m, " x ", gemm.n);
  if (gemm.bias && gemm.d.dtype != DType::fp32) fail("interpret_gemm: a bias has the output's type, so an fp32 one needs an fp32 output");
  with_float(gemm.a.dtype, [&]<class T>() {
    with_float(gemm.d.dtype, [&]<class Out>() {
      for (std::int64_t column = 0; column < gemm.n; ++column)
        for (std::int64_t row = 0; row < gemm.m; ++row) {
          float sum = 0;
          for (std::int64_t l = 0; l < gemm.k; ++l)
            sum += element(static_cast<const T*>(args.a), gemm.a, gemm.transpose_a, row, l, gemm.tf32) *
                   element(static_cast<const T*>(args.b), gemm.b, gemm.transpose_b, l, column, gemm.tf32);
          if (gemm.bias) sum += args.bias[row];
          if (gemm.relu && sum <= 0) sum = 0;
          static_cast<Out*>(args.c)[column * gemm.d.leading + row] = round<Out>(sum);
        }
    });
  });
}

}  // namespace epitaxy
