// Optimizer steps: one launch for all parameters of a model, four neighbouring elements a thread.
#include "kernels/optimizer.h"

#include <cmath>

#include "epitaxy/dtype_switch.h"
#include "kernels/device/vector.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 4;

/// The first of this thread's elements, and how many of them exist.
__device__ __forceinline__ std::int64_t first_element() {
  return (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector;
}
__device__ __forceinline__ int valid_elements(std::int64_t first, std::int64_t count) {
  return count - first < kVector ? static_cast<int>(count - first) : kVector;
}

/// Copy is float where no copy is kept.
template <class Copy>
__global__ void __launch_bounds__(kThreads) sgd_kernel(SgdArgs args) {
  const std::int64_t first = first_element();
  if (first >= args.count) return;
  const int valid = valid_elements(first, args.count);
  const float rate = *args.learning_rate, scale = *args.gradient_scale;
  float p[kVector], g[kVector], v[kVector];
  load_vector<kVector>(args.parameters + first, p, valid);
  load_vector<kVector>(args.gradients + first, g, valid);
  load_vector<kVector>(args.velocity + first, v, valid);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (scale == 0.0f) break;  // a skipped step
    g[i] *= scale;
    if (first + i < args.decay_count) g[i] += args.weight_decay * p[i];
    v[i] = args.momentum * v[i] + g[i];
    p[i] -= rate * (args.nesterov ? g[i] + args.momentum * v[i] : v[i]);
  }
  store_vector<kVector>(args.new_parameters + first, p, valid);
  store_vector<kVector>(args.new_velocity + first, v, valid);
  if (args.copy) store_vector<kVector>(static_cast<Copy*>(args.copy) + first, p, valid);
}

/// The corrections 1 - beta^t come from expm1(t log beta): beta^t itself would lose the digits of a beta near 1.
template <class Copy>
__global__ void __launch_bounds__(kThreads) adam_kernel(AdamArgs args, float log_beta1, float log_beta2) {
  const std::int64_t first = first_element();
  if (first >= args.count) return;
  const int valid = valid_elements(first, args.count);
  const float rate = *args.learning_rate, scale = *args.gradient_scale, t = static_cast<float>(*args.step + 1);
  const float step_size = rate / -expm1f(t * log_beta1), correction2 = 1.0f / sqrtf(-expm1f(t * log_beta2));
  float p[kVector], g[kVector], m[kVector], v[kVector];
  load_vector<kVector>(args.parameters + first, p, valid);
  load_vector<kVector>(args.gradients + first, g, valid);
  load_vector<kVector>(args.m + first, m, valid);
  load_vector<kVector>(args.v + first, v, valid);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (scale == 0.0f) break;  // a skipped step
    g[i] *= scale;
    if (first + i < args.decay_count) {
      if (args.decoupled)
        p[i] -= rate * args.weight_decay * p[i];
      else
        g[i] += args.weight_decay * p[i];
    }
    m[i] = args.beta1 * m[i] + (1.0f - args.beta1) * g[i];
    v[i] = args.beta2 * v[i] + (1.0f - args.beta2) * g[i] * g[i];
    p[i] -= step_size * m[i] / (sqrtf(v[i]) * correction2 + args.epsilon);
  }
  store_vector<kVector>(args.new_parameters + first, p, valid);
  store_vector<kVector>(args.new_m + first, m, valid);
  store_vector<kVector>(args.new_v + first, v, valid);
  if (args.copy) store_vector<kVector>(static_cast<Copy*>(args.copy) + first, p, valid);
}

__global__ void advance_step_kernel(const std::int64_t* step, std::int64_t* next) { *next = *step + 1; }

dim3 grid_of(std::int64_t count) {
  constexpr std::int64_t kPerBlock = kThreads * kVector;
  return dim3(static_cast<unsigned>((count + kPerBlock - 1) / kPerBlock));
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using namespace EPITAXY_WORLD;

template <>
void sgd<EPITAXY_WORLD::World>(const SgdArgs& args, Stream stream) {
  with_float(args.copy_dtype, [&]<class Copy>() { launch(stream, "sgd", sgd_kernel<Copy>, grid_of(args.count), dim3(kThreads), 0, args); });
}

template <>
void adam<EPITAXY_WORLD::World>(const AdamArgs& args, Stream stream) {
  const float log_beta1 = static_cast<float>(std::log(static_cast<double>(args.beta1)));
  const float log_beta2 = static_cast<float>(std::log(static_cast<double>(args.beta2)));
  with_float(args.copy_dtype, [&]<class Copy>() {
    launch(stream, "adam", adam_kernel<Copy>, grid_of(args.count), dim3(kThreads), 0, args, log_beta1, log_beta2);
  });
}

template <>
void advance_step<EPITAXY_WORLD::World>(const std::int64_t* step, std::int64_t* next, Stream stream) {
  launch(stream, "advance_step", advance_step_kernel, dim3(1), dim3(1), 0, step, next);
}

}  // namespace epitaxy
