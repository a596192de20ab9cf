// Launchers of optimizer steps over flat fp32 arrays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

/// Inputs and outputs may share memory element by element.
struct SgdArgs {
  const float *parameters, *gradients, *velocity;  // [count]
  const float *learning_rate, *gradient_scale;     // [1]
  float *new_parameters, *new_velocity;            // [count]
  void* copy;                                      // [count] bf16 or fp16, or null
  std::int64_t count, decay_count;                 // elements [0, decay_count) decay
  DType copy_dtype;
  float momentum, weight_decay;
  bool nesterov;
};

struct AdamArgs {
  const float *parameters, *gradients, *m, *v;  // [count]
  const float *learning_rate, *gradient_scale;  // [1]
  const std::int64_t* step;                     // [1], from 0
  float *new_parameters, *new_m, *new_v;        // [count]
  void* copy;                                   // [count] bf16 or fp16, or null
  std::int64_t count, decay_count;
  DType copy_dtype;
  float beta1, beta2, epsilon, weight_decay;
  bool decoupled;
};

/// norm = sqrt(sum of squares), scale = min(1, maximum / (norm + 1e-6)).
struct GlobalNormArgs {
  const float* gradients;  // [count]
  float *norm, *scale;     // [1]
  void* scratch;           // CPU: double [chunks]; CUDA: global_norm_scratch_bytes
  std::size_t scratch_bytes;
  std::int64_t count;
  float maximum;
};

/// Elements whose squares one partial sum of the CPU path holds.
inline constexpr std::int64_t kNormChunk = 16384;

template <class World>
void sgd(const SgdArgs& args, Stream stream);
template <class World>
void adam(const AdamArgs& args, Stream stream);
template <class World>
void advance_step(const std::int64_t* step, std::int64_t* next, Stream stream);
template <class World>
void global_norm(const GlobalNormArgs& args, Stream stream);  // Reference, Host, Cuda (CUB, src/gpu/optimizer.cu)
std::size_t global_norm_scratch_bytes(std::int64_t count);    // on CUDA

}  // namespace epitaxy
