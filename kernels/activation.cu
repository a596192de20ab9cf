// Activations, one thread for each 16-byte vector.
#include "kernels/activation.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float normal_cdf(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }

__device__ __forceinline__ float value(Activation kind, float x, float slope) {
  switch (kind) {
    case Activation::none: return x;
    case Activation::relu: return x <= 0.0f ? 0.0f : x;  // NaN stays NaN
    case Activation::leaky_relu: return x > 0.0f ? x : slope * x;
    case Activation::sigmoid: return 1.0f / (1.0f + expf(-x));
    case Activation::tanh: return tanhf(x);
    case Activation::gelu: return x * normal_cdf(x);
  }
  return 0.0f;
}

__device__ __forceinline__ float slope_at(Activation kind, float s, float slope) {
  switch (kind) {
    case Activation::none: return 1.0f;
    case Activation::relu: return s > 0.0f ? 1.0f : 0.0f;
    case Activation::leaky_relu: return s > 0.0f ? 1.0f : slope;
    case Activation::sigmoid: return s * (1.0f - s);
    case Activation::tanh: return 1.0f - s * s;
    case Activation::gelu: return normal_cdf(s) + s * expf(-0.5f * s * s) * 0.39894228040143268f;
  }
  return 0.0f;
}

template <class T, bool kBackward>
__global__ void activation_kernel(const T* x, const T* dy, T* y, std::int64_t count, Activation kind, float slope) {
  constexpr int kVector = 16 / sizeof(T);
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector;
  if (first >= count) return;
  const int valid = count - first < kVector ? static_cast<int>(count - first) : kVector;
  float a[kVector], b[kVector];
  load_vector<kVector>(x + first, a, valid);
  if constexpr (kBackward) load_vector<kVector>(dy + first, b, valid);
  for (int i = 0; i < kVector; ++i) {
    if constexpr (kBackward)
      a[i] = kind == Activation::relu && !(a[i] > 0.0f) ? 0.0f : b[i] * slope_at(kind, a[i], slope);  // 0 whatever dy is
    else
      a[i] = value(kind, a[i], slope);
  }
  store_vector<kVector>(y + first, a, valid);
}

template <bool kBackward>
void run(const ActivationArgs& args, Stream stream) {
  with_float(args.dtype, [&]<class T>() {
    constexpr std::int64_t kPerBlock = kThreads * 16 / sizeof(T);
    launch(stream, "activation", activation_kernel<T, kBackward>, dim3(static_cast<unsigned>((args.count + kPerBlock - 1) / kPerBlock)),
           dim3(kThreads), 0, static_cast<const T*>(args.x), static_cast<const T*>(args.dy), static_cast<T*>(args.y), args.count, args.kind,
           args.slope);
  });
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void activation_forward<World>(const ActivationArgs& args, Stream stream) {
  EPITAXY_WORLD::run<false>(args, stream);
}
template <>
void activation_backward<World>(const ActivationArgs& args, Stream stream) {
  EPITAXY_WORLD::run<true>(args, stream);
}
}  // namespace epitaxy
