#include "gpu/describe.h"

#include <cublasLt.h>
#include <cuda_runtime.h>
#if EPITAXY_HAS_CUDNN
#include <cudnn.h>
#endif

#include "epitaxy/error.h"
#include "gpu/check.h"

namespace epitaxy {

CudaCard describe_cuda_card(int index) {
  cudaDeviceProp card{};
  EPITAXY_CHECK(cudaGetDeviceProperties(&card, index));
  return {card.name, card.major, card.minor, card.multiProcessorCount, card.totalGlobalMem};
}

std::vector<std::pair<std::string, std::string>> cuda_versions() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);  // 0 without a driver
  cudaRuntimeGetVersion(&runtime);
  cudaGetLastError();
  const auto of = [](int version) { return version == 0 ? std::string() : text(version / 1000, '.', version % 1000 / 10); };
  const std::size_t blas = cublasLtGetVersion();
  std::vector<std::pair<std::string, std::string>> versions{
      {"cuda_driver", of(driver)},
      {"cuda_runtime", of(runtime)},
      {"cublaslt", text(blas / 10000, '.', blas % 10000 / 100, '.', blas % 100)},
  };
#if EPITAXY_HAS_CUDNN
  const std::size_t dnn = cudnnGetVersion();
  versions.emplace_back("cudnn", text(dnn / 10000, '.', dnn % 10000 / 100, '.', dnn % 100));
#else
  versions.emplace_back("cudnn", "");
#endif
  return versions;
}

}  // namespace epitaxy
