// Dynamic loss scaling: the factor on the loss's gradient, and its update by one thread.
#include "kernels/loss_scale.h"

#include "kernels/device/vector.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 4;

__global__ void __launch_bounds__(kThreads) scale_kernel(ScaleArgs args) {
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector;
  if (first >= args.count) return;
  const int valid = args.count - first < kVector ? static_cast<int>(args.count - first) : kVector;
  const float factor = *args.factor;
  float x[kVector];
  load_vector<kVector>(args.x + first, x, valid);
#pragma unroll
  for (int i = 0; i < kVector; ++i) x[i] *= factor;
  store_vector<kVector>(args.y + first, x, valid);
}

__global__ void update_loss_scale_kernel(UpdateLossScaleArgs args) {
  const LossScaleOptions& o = args.options;
  const float scale = *args.loss_scale, norm = *args.norm / scale, steps = *args.finite_steps + 1.0f;
  const bool finite = norm < INFINITY;  // false for NaN
  const bool grows = finite && steps >= static_cast<float>(o.interval);
  const float clip = o.clip_norm > 0.0f ? fminf(1.0f, o.clip_norm / (norm + 1e-6f)) : 1.0f;
  *args.gradient_scale = finite ? clip / scale : 0.0f;
  *args.new_loss_scale = fminf(fmaxf(finite ? (grows ? scale * o.growth : scale) : scale * o.backoff, 0x1p-24f), 0x1p24f);
  *args.new_finite_steps = finite && !grows ? steps : 0.0f;
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {

template <>
void scale<EPITAXY_WORLD::World>(const ScaleArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  constexpr std::int64_t kPerBlock = kThreads * kVector;
  launch(stream, "scale", scale_kernel, dim3(static_cast<unsigned>((args.count + kPerBlock - 1) / kPerBlock)), dim3(kThreads), 0, args);
}

template <>
void update_loss_scale<EPITAXY_WORLD::World>(const UpdateLossScaleArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  launch(stream, "update_loss_scale", update_loss_scale_kernel, dim3(1), dim3(1), 0, args);
}

}  // namespace epitaxy
