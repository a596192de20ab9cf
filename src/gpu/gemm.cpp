#include "gpu/gemm.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "epitaxy/error.h"
#include "gpu/check.h"

namespace epitaxy {

namespace {

/// An algorithm may ask for at most this much scratch; what the chosen one asks for is what the plan gives it.
constexpr std::size_t kMostWorkspace = std::size_t{32} << 20;
/// Arenas align everything to this; slices of a tensor may be aligned to less.
constexpr std::size_t kUsualAlignment = 256;

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::fp32: return CUDA_R_32F;
    case DType::bf16: return CUDA_R_16BF;
    case DType::fp16: return CUDA_R_16F;
    default: fail("cuBLASLt: no matrices of ", name(dtype));
  }
}

/// One handle a device, for the life of the process: destroying it after the driver has shut down would be an error.
cublasLtHandle_t handle() {
  static std::mutex mutex;
  static std::map<int, cublasLtHandle_t> handles;
  int device = 0;
  EPITAXY_CHECK(cudaGetDevice(&device));
  const std::lock_guard lock(mutex);
  cublasLtHandle_t& found = handles[device];
  if (!found) EPITAXY_CHECK(cublasLtCreate(&found));
  return found;
}

struct DestroyDescription {
  void operator()(cublasLtMatmulDesc_t it) const { cublasLtMatmulDescDestroy(it); }
};
struct DestroyLayout {
  void operator()(cublasLtMatrixLayout_t it) const { cublasLtMatrixLayoutDestroy(it); }
};
struct DestroyPreference {
  void operator()(cublasLtMatmulPreference_t it) const { cublasLtMatmulPreferenceDestroy(it); }
};
using Description = std::unique_ptr<std::remove_pointer_t<cublasLtMatmulDesc_t>, DestroyDescription>;
using Layout = std::unique_ptr<std::remove_pointer_t<cublasLtMatrixLayout_t>, DestroyLayout>;
using Preference = std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, DestroyPreference>;

Description make_description(const BlasGemm& gemm) {
  cublasLtMatmulDesc_t made = nullptr;
  EPITAXY_CHECK(cublasLtMatmulDescCreate(&made, gemm.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
  Description description(made);
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    EPITAXY_CHECK(cublasLtMatmulDescSetAttribute(made, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, gemm.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_TRANSB, gemm.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  const cublasLtEpilogue_t epilogue = gemm.bias && gemm.relu ? CUBLASLT_EPILOGUE_RELU_BIAS
                                      : gemm.bias            ? CUBLASLT_EPILOGUE_BIAS
                                      : gemm.relu            ? CUBLASLT_EPILOGUE_RELU
                                                             : CUBLASLT_EPILOGUE_DEFAULT;
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  // The heuristic wants to see a bias pointer; the real one is set by the first run.
  if (gemm.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(std::uintptr_t{kUsualAlignment}));
  return description;
}

Layout make_layout(const BlasGemm::Matrix& matrix) {
  cublasLtMatrixLayout_t made = nullptr;
  EPITAXY_CHECK(cublasLtMatrixLayoutCreate(&made, data_type(matrix.dtype), static_cast<std::uint64_t>(matrix.rows),
                                           static_cast<std::uint64_t>(matrix.columns), matrix.leading));
  return Layout(made);
}

class LtGemm final : public Prepared {
 public:
  explicit LtGemm(const BlasGemm& gemm)
      : gemm_(gemm),
        handle_(handle()),
        description_(make_description(gemm)),
        a_(make_layout(gemm.a)),
        b_(make_layout(gemm.b)),
        d_(make_layout(gemm.d)) {
    workspace_bytes_ = kMostWorkspace;
    workspace_bytes_ = choose(kUsualAlignment).workspaceSize;
  }

  std::size_t workspace_bytes() const { return workspace_bytes_; }

  void run(const DenseArgs& args, void* workspace, Stream stream) {
    if (gemm_.bias && args.bias != bias_) {
      EPITAXY_CHECK(cublasLtMatmulDescSetAttribute(description_.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, &args.bias, sizeof(args.bias)));
      bias_ = args.bias;
    }
    const auto& chosen = choose(alignment_of(args));
    constexpr float kOne = 1, kZero = 0;
    EPITAXY_CHECK(cublasLtMatmul(handle_, description_.get(), &kOne, args.a, a_.get(), args.b, b_.get(), &kZero, args.c, d_.get(), args.c,
                                 d_.get(), &chosen.algo, workspace, workspace_bytes_, static_cast<cudaStream_t>(stream.handle)));
  }

 private:
  /// The largest power of two, up to the usual one, that all operands are aligned to.
  static std::size_t alignment_of(const DenseArgs& args) {
    const auto bits =
        reinterpret_cast<std::uintptr_t>(args.a) | reinterpret_cast<std::uintptr_t>(args.b) | reinterpret_cast<std::uintptr_t>(args.c);
    return std::min<std::size_t>(kUsualAlignment, bits & (~bits + 1));
  }

  const cublasLtMatmulHeuristicResult_t& choose(std::size_t alignment) {
    const auto found = std::find_if(choices_.begin(), choices_.end(), [&](const Choice& choice) { return choice.alignment == alignment; });
    if (found != choices_.end()) return found->result;
    cublasLtMatmulPreference_t made = nullptr;
    EPITAXY_CHECK(cublasLtMatmulPreferenceCreate(&made));
    const Preference preference(made);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      EPITAXY_CHECK(cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof(value)));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_);
    // Splits of k may be summed from the workspace in the compute type; in place they would add in any order, in the output type they
    // round.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    for (const auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                 CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(attribute, static_cast<std::uint32_t>(alignment));
    Choice choice{alignment, {}};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, description_.get(), a_.get(), b_.get(), d_.get(), d_.get(), made,
                                                                 1, &choice.result, &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && count == 0))
      fail("cuBLASLt has no deterministic product of ", gemm_.m, " x ", gemm_.n, " x ", gemm_.k, " from ", name(gemm_.a.dtype), " to ",
           name(gemm_.d.dtype), " on this card");
    EPITAXY_CHECK(status);
    choices_.push_back(choice);
    return choices_.back().result;
  }

  struct Choice {
    std::size_t alignment;
    cublasLtMatmulHeuristicResult_t result;
  };
  BlasGemm gemm_;
  cublasLtHandle_t handle_;
  Description description_;
  Layout a_, b_, d_;
  const float* bias_ = nullptr;
  std::size_t workspace_bytes_ = 0;
  std::vector<Choice> choices_;
};

}  // namespace

std::shared_ptr<Prepared> cuda_prepare_gemm(const BlasGemm& gemm) { return std::make_shared<LtGemm>(gemm); }

std::size_t cuda_gemm_workspace_bytes(const Prepared& prepared) { return static_cast<const LtGemm&>(prepared).workspace_bytes(); }

void cuda_run_gemm(Prepared& prepared, const DenseArgs& args, void* workspace, Stream stream) {
  static_cast<LtGemm&>(prepared).run(args, workspace, stream);
}

}  // namespace epitaxy
