// What there is on the GPU side, for people: cards and library versions.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace epitaxy {

struct CudaCard {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0, multiprocessors = 0;
  std::uint64_t total_bytes = 0;
};
/// Of cuda:index, which must exist.
CudaCard describe_cuda_card(int index);

/// Library and version, of the libraries loaded: driver, runtime, cublaslt, cudnn. Empty versions: not there.
std::vector<std::pair<std::string, std::string>> cuda_versions();

}  // namespace epitaxy
