// cuBLASLt against the interpreter of the same description: every transposition, padded rows, and operands aligned to one element only.
#include "gpu/gemm.h"

#include <optional>

#include "gpu/backend.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr Device kCard{DeviceKind::cuda, 0};

TEST(CudaGemm, AgreesWithTheInterpreter) {
  if (const std::string why = why_absent(kCard); !why.empty()) {
    skip_device(kCard, why);
    GTEST_SKIP() << why;
  }
  DeviceBackend& card = cuda_backend(0);
  const std::int64_t m = 33, n = 20, k = 50;
  for (const DType input : {DType::fp32, DType::bf16, DType::fp16})
    for (const DType output : {input, DType::fp32})
      for (int form = 0; form < 16; ++form) {
        const bool transpose_a = form & 1, transpose_b = form & 2, end = form & 4, odd = form & 8;
        if (end && output != DType::fp32) continue;  // blas has a bias of the output's type only
        SCOPED_TRACE(text(name(input), " to ", name(output), ", transpose_a ", transpose_a, ", transpose_b ", transpose_b,
                          ", bias and ReLU ", end, ", unaligned ", odd));
        GemmProblem p{.m = m, .n = n, .k = k, .transpose_a = transpose_a, .transpose_b = transpose_b, .input = input, .output = output};
        p.lda = (transpose_a ? m : k) + odd, p.ldb = (transpose_b ? k : n) + odd, p.ldc = n + odd;
        p.bias = end, p.activation = end ? Activation::relu : Activation::none;
        // One element in front moves every operand off its usual alignment.
        const auto filled = [&](DType dtype, std::int64_t count, std::uint64_t seed) {
          return make({dtype, {count + odd}}, Fill::integers(-3, 3), seed);
        };
        const Tensor a = filled(input, (transpose_a ? k : m) * p.lda, 1), b = filled(input, (transpose_b ? n : k) * p.ldb, 2),
                     bias = make({DType::fp32, {n}}, Fill::integers(-3, 3), 3), want = filled(output, m * p.ldc, 4);
        const Tensor da = copy_to(card, a, cpu_backend()), db = copy_to(card, b, cpu_backend()), dbias = copy_to(card, bias, cpu_backend()),
                     got = copy_to(card, want, cpu_backend());
        const auto from = [&](const Tensor& t) { return static_cast<std::byte*>(t.data()) + odd * size_of(t.dtype()); };
        const BlasGemm gemm = blas_gemm(p);
        const auto prepared = cuda_prepare_gemm(gemm);
        const Buffer workspace(card, cuda_gemm_workspace_bytes(*prepared));
        cuda_run_gemm(*prepared, blas_arguments({from(da), from(db), dbias.as<float>(), from(got)}), workspace.data(), card.stream());
        interpret_gemm(gemm, blas_arguments({from(a), from(b), bias.as<float>(), from(want)}));
        EXPECT_TRUE(same(copy_to(cpu_backend(), got, card), want));  // small integers: exact; padding untouched
      }
}

}  // namespace
}  // namespace epitaxy::test
