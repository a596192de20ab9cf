// The one place where a failed CUDA or cuBLAS call becomes an Error: call, file and line, what happened.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

namespace epitaxy {

[[noreturn]] void fail_call(const char* call, const char* file, int line, const char* what, const char* code);

inline void check_call(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // clears an error that is not sticky
  fail_call(call, file, line, cudaGetErrorString(status), cudaGetErrorName(status));
}

inline void check_call(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS) fail_call(call, file, line, cublasLtGetStatusString(status), cublasLtGetStatusName(status));
}

}  // namespace epitaxy

/// EPITAXY_CHECK(cudaMemcpyAsync(...)): throws Error where the call fails.
#define EPITAXY_CHECK(call) ::epitaxy::check_call((call), #call, __FILE__, __LINE__)
