// Losses in two launches: blocks write the gradient and one partial sum each, then one block adds those in a fixed order.
// Partials depend on the shape alone, so a result has the same bits on every run and every GPU.
#include "kernels/loss.h"

#include <limits>

#include "epitaxy/dtype_switch.h"
#include "kernels/device/block.cuh"
#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 4;

/// The loss of one element, and its derivative with respect to y.
__device__ __forceinline__ float element(ElementLoss kind, float y, float target, float delta, float& derivative) {
  if (kind == ElementLoss::binary_cross_entropy) {  // written so that nothing cancels at targets 0 and 1
    const float e = expf(-fabsf(y)), tail = e / (1.0f + e);
    derivative = y > 0.0f ? (1.0f - target) - tail : tail - target;
    return (y > 0.0f ? y * (1.0f - target) : -y * target) + log1pf(e);
  }
  const float d = y - target, size = fabsf(d);
  const float sign = d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;  // NaN stays
  switch (kind) {
    case ElementLoss::squared: derivative = 2.0f * d; return d * d;
    case ElementLoss::absolute: derivative = sign; return size;
    default: break;
  }
  derivative = size <= delta ? d : delta * sign;
  return size <= delta ? 0.5f * d * d : delta * (size - 0.5f * delta);
}

template <class T>
__global__ void __launch_bounds__(kThreads) element_loss_kernel(const T* y, const float* target, T* gradient, float* partials,
                                                                std::int64_t count, ElementLoss kind, float delta, float scale) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads * kVector;
  float sum = 0.0f;
  for (std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector; first < count; first += stride) {
    const int valid = count - first < kVector ? static_cast<int>(count - first) : kVector;
    float a[kVector], b[kVector];
    load_vector<kVector>(y + first, a, valid);
    load_vector<kVector>(target + first, b, valid);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      float derivative;
      const float loss = element(kind, a[i], b[i], delta, derivative);
      if (i < valid) sum += loss;
      a[i] = derivative * scale;
    }
    store_vector<kVector>(gradient + first, a, valid);
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

/// result = sum(partials) / (weight ? *weight : count). One block.
__global__ void __launch_bounds__(kThreads)
    finish_mean_kernel(const float* partials, int blocks, const float* weight, float count, float* result) {
  float sum = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < blocks; i += kThreads) sum += partials[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *result = sum / (weight ? *weight : count);
}

__global__ void __launch_bounds__(kThreads)
    target_weight_kernel(const std::int32_t* target, const float* weights, float* partials, std::int64_t rows, std::int64_t classes) {
  float sum = 0.0f;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; row < rows;
       row += static_cast<std::int64_t>(gridDim.x) * kThreads) {
    const std::int32_t t = target[row];
    sum += t >= 0 && t < classes ? weights[t] : NAN;
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

/// kLanes lanes walk a row three times: its maximum; the sum of the other classes' exponentials; the gradient. Keeping the target's
/// exponential out of that sum gives log(p) and 1 - p of a confident prediction to full relative precision.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(const T* logits, const std::int32_t* target, const float* weights, T* gradient, float* partials,
                         const float* weight_sum, std::int64_t rows, std::int64_t classes, float smoothing) {
  constexpr int kRows = kThreads / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const float scale = 1.0f / (weight_sum ? *weight_sum : static_cast<float>(rows));
  const float share = smoothing / static_cast<float>(classes);  // of every class in the target distribution
  float total = 0.0f;
  for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * kRows; base < rows;
       base += static_cast<std::int64_t>(gridDim.x) * kRows) {
    const std::int64_t row = base + threadIdx.x / kLanes;
    const std::int64_t width = row < rows ? classes : 0;  // every lane stays for the reductions
    const std::int32_t t = row < rows ? target[row] : 0;
    const bool known = t >= 0 && t < classes;
    const T* x = logits + row * classes;
    float maximum = -INFINITY, others = 0.0f, all_weights = 0.0f, smooth = 0.0f;
    for (std::int64_t c = lane; c < width; c += kLanes) maximum = Max{}(load_float(x[c]), maximum);
    maximum = warp_max<kLanes>(maximum);
    for (std::int64_t c = lane; c < width; c += kLanes) {
      if (c != t) others += expf(load_float(x[c]) - maximum);
      if (weights) all_weights += weights[c];
    }
    others = warp_sum<kLanes>(others);
    all_weights = weights ? warp_sum<kLanes>(all_weights) : static_cast<float>(classes);
    if (row < rows) {
      const float shifted = known ? load_float(x[t]) - maximum : NAN;
      const float own = expf(shifted), sum = others + own;
      const float log_sum = shifted == 0.0f ? log1pf(others) : logf(sum);
      const float weight = (1.0f - smoothing) * (known && weights ? weights[t] : 1.0f);
      for (std::int64_t c = lane; c < classes; c += kLanes) {
        const float d = load_float(x[c]) - maximum, p = expf(d) / sum;
        const float own_weight = weights ? weights[c] : 1.0f;
        float g = c == t ? -weight * (others / sum) : weight * p;
        if (smoothing > 0.0f) {
          g += share * (p * all_weights - own_weight);
          smooth += own_weight * (log_sum - d);
        }
        gradient[row * classes + c] = store_float<T>(g * scale);
      }
      if (lane == 0) total += weight * (log_sum - shifted);
      total += share * smooth;
    }
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

/// Partial counts of rows whose first largest logit is the target's. A row with a NaN has no largest.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads)
    accuracy_kernel(const T* logits, const std::int32_t* target, int* partials, std::int64_t rows, std::int64_t classes) {
  constexpr int kRows = kThreads / kLanes;
  constexpr int kNone = std::numeric_limits<int>::max();
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  int hits = 0;
  for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * kRows; base < rows;
       base += static_cast<std::int64_t>(gridDim.x) * kRows) {
    const std::int64_t row = base + threadIdx.x / kLanes;
    float largest = -INFINITY;
    int at = kNone;
    for (std::int64_t c = lane; row < rows && c < classes; c += kLanes) {
      const float x = load_float(logits[row * classes + c]);
      if (at == kNone || x > largest || x != x) largest = x, at = static_cast<int>(c);
      if (x != x) break;
    }
    const float maximum = warp_max<kLanes>(largest);
    const int first = warp_min<kLanes>(largest == maximum ? at : kNone);
    if (row < rows && lane == 0 && first == target[row]) ++hits;
  }
  hits = block_sum<kThreads>(hits);
  if (threadIdx.x == 0) partials[blockIdx.x] = hits;
}

__global__ void __launch_bounds__(kThreads) finish_accuracy_kernel(const int* partials, int blocks, std::int64_t rows, float* result) {
  long long sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < blocks; i += kThreads) sum += partials[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *result = static_cast<float>(static_cast<double>(sum) / static_cast<double>(rows));
}

/// Blocks for `work` items of which a block takes `per_block` a turn: by the shape alone.
int block_count(std::int64_t work, std::int64_t per_block) {
  const std::int64_t wanted = (work + per_block - 1) / per_block;
  return static_cast<int>(wanted < kLossPartials ? wanted : kLossPartials);
}

void finish_mean(const float* partials, int blocks, const float* weight, std::int64_t count, float* result, Stream stream) {
  launch(stream, "loss_mean", finish_mean_kernel, dim3(1), dim3(kThreads), 0, partials, blocks, weight, static_cast<float>(count), result);
}

/// Lanes that share a row of that many classes: work.template operator()<kLanes>().
template <class Work>
void with_lanes(std::int64_t classes, Work&& work) {
  if (classes <= 4) return work.template operator()<1>();
  if (classes <= 64) return work.template operator()<8>();
  return work.template operator()<32>();
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;

template <>
void element_loss<World>(const ElementLossArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  float* partials = static_cast<float*>(args.workspace);
  const int blocks = block_count(args.count, kThreads * kVector);
  with_float(args.dtype, [&]<class T>() {
    launch(stream, "element_loss", element_loss_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0,
           static_cast<const T*>(args.y), args.target, static_cast<T*>(args.gradient), partials, args.count, args.kind, args.delta,
           1.0f / static_cast<float>(args.count));
  });
  finish_mean(partials, blocks, nullptr, args.count, args.loss, stream);
}

template <>
void softmax_cross_entropy<World>(const CrossEntropyArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  float* partials = static_cast<float*>(args.workspace);
  float* weight_sum = nullptr;
  if (args.weights) {
    weight_sum = partials + kLossPartials;
    const int blocks = block_count(args.rows, kThreads);
    launch(stream, "target_weight", target_weight_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, args.target, args.weights,
           partials, args.rows, args.classes);
    finish_mean(partials, blocks, nullptr, 1, weight_sum, stream);
  }
  with_float(args.dtype, [&]<class T>() {
    with_lanes(args.classes, [&]<int kLanes>() {
      const int blocks = block_count(args.rows, kThreads / kLanes);
      launch(stream, "softmax_cross_entropy", cross_entropy_kernel<T, kLanes>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0,
             static_cast<const T*>(args.logits), args.target, args.weights, static_cast<T*>(args.gradient), partials,
             static_cast<const float*>(weight_sum), args.rows, args.classes, args.smoothing);
      finish_mean(partials, blocks, weight_sum, args.rows, args.loss, stream);
    });
  });
}

template <>
void accuracy<World>(const AccuracyArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  int* partials = static_cast<int*>(args.workspace);
  with_float(args.dtype, [&]<class T>() {
    with_lanes(args.classes, [&]<int kLanes>() {
      const int blocks = block_count(args.rows, kThreads / kLanes);
      launch(stream, "accuracy", accuracy_kernel<T, kLanes>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0,
             static_cast<const T*>(args.logits), args.target, partials, args.rows, args.classes);
      launch(stream, "accuracy_mean", finish_accuracy_kernel, dim3(1), dim3(kThreads), 0, static_cast<const int*>(partials), blocks,
             args.rows, args.accuracy);
    });
  });
}

}  // namespace epitaxy
