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

/// result = sum(partials) / count. One block.
__global__ void __launch_bounds__(kThreads) finish_mean_kernel(const float* partials, int blocks, float count, float* result) {
  float sum = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < blocks; i += kThreads) sum += partials[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *result = sum / count;
}

/// What a row's loss is weighted with: 0 where ignored; NaN for a target that is no class, or 1 where weights are not asked for.
__device__ __forceinline__ float target_weight(std::int32_t target, const float* weights, std::int64_t classes) {
  if (target == kIgnoredTarget) return 0.0f;
  if (!weights) return 1.0f;
  return target >= 0 && target < classes ? weights[target] : NAN;
}

__global__ void __launch_bounds__(kThreads)
    target_weight_kernel(const std::int32_t* target, const float* weights, float* partials, std::int64_t rows, std::int64_t classes) {
  float sum = 0.0f;
#pragma unroll 4
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; row < rows;
       row += static_cast<std::int64_t>(gridDim.x) * kThreads)
    sum += target_weight(target[row], weights, classes);
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

/// Few targets are weighed by every block for itself, which saves two launches; many were weighed into `partials` before.
constexpr std::int64_t kFewTargets = 4096;
struct TargetWeights {
  const std::int32_t* target;  // [rows]
  const float* weights;        // [classes] or null
  const float* partials;       // [blocks], or null: few targets
  std::int64_t rows, classes;
  int blocks;
};

/// The sum over all targets: the same bits in every thread of every block.
__device__ __forceinline__ float weight_sum(const TargetWeights& of) {
  float sum = 0.0f;
  if (of.partials)
    for (int i = static_cast<int>(threadIdx.x); i < of.blocks; i += kThreads) sum += of.partials[i];
  else
    for (int i = static_cast<int>(threadIdx.x); i < of.rows; i += kThreads) sum += target_weight(of.target[i], of.weights, of.classes);
  return block_sum<kThreads>(sum);
}

__global__ void __launch_bounds__(kThreads)
    finish_cross_entropy_kernel(const float* partials, int blocks, TargetWeights of, float* result) {
  const float weight = weight_sum(of);
  float sum = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < blocks; i += kThreads) sum += partials[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *result = weight == 0.0f ? 0.0f : sum / weight;
}

/// Rows of few classes are staged in shared memory, a row to a thread; `stride` is odd, so that rows start in different banks.
template <class T>
struct StagedRows {
  int rows, classes, stride;  // of a full tile

  /// Consecutive elements, so whole lines: memory's are the shared ones' (move(from shared, value) or (to shared, value)).
  template <class Move>
  __device__ __forceinline__ void each_vector(int here, Move&& move) const {
    constexpr int kWidth = kVectorWidth<T>;
    const int count = here * classes;
    for (int e = static_cast<int>(threadIdx.x) * kWidth; e < count; e += kThreads * kWidth)
      move(e, e / classes, e % classes, count - e < kWidth ? count - e : kWidth);
  }
  __device__ __forceinline__ void load(const T* from, float* shared, int here) const {
    each_vector(here, [&](int e, int row, int c, int valid) {
      float values[kVectorWidth<T>];
      load_vector<kVectorWidth<T>>(from + e, values, valid);
#pragma unroll
      for (int i = 0; i < kVectorWidth<T>; ++i) {
        if (i < valid) shared[row * stride + c] = values[i];
        if (++c == classes) c = 0, ++row;
      }
    });
  }
  __device__ __forceinline__ void store(T* to, const float* shared, int here) const {
    each_vector(here, [&](int e, int row, int c, int valid) {
      float values[kVectorWidth<T>];
#pragma unroll
      for (int i = 0; i < kVectorWidth<T>; ++i) {
        values[i] = i < valid ? shared[row * stride + c] : 0.0f;
        if (++c == classes) c = 0, ++row;
      }
      store_vector<kVectorWidth<T>>(to + e, values, valid);
    });
  }
};

constexpr int kStagedClasses = 32;  // at most
/// Tiles of 256 to 1024 rows: enough bytes in flight, and at most 34 KB.
template <class T>
StagedRows<T> staged_rows(std::int64_t classes) {
  const int c = static_cast<int>(classes);
  return {kThreads * (c <= 4 ? 4 : c <= 8 ? 2 : 1), c, c | 1};
}

/// Loss and gradient of one row x [classes], which the gradient replaces. The sum of exponentials is kept without the target's own, which
/// gives log(p) and 1 - p of a confident prediction to full relative precision.
__device__ __forceinline__ float row_loss(float* x, int classes, std::int32_t t, const float* weights, float smoothing, float scale) {
  if (t == kIgnoredTarget) {
    for (int c = 0; c < classes; ++c) x[c] = 0.0f;
    return 0.0f;
  }
  const bool known = t >= 0 && t < classes;
  float maximum = -INFINITY;
  for (int c = 0; c < classes; ++c) maximum = Max{}(x[c], maximum);
  const float shifted = known ? x[t] - maximum : NAN;
  float others = 0.0f, all_weights = 0.0f, deviations = 0.0f;
  for (int c = 0; c < classes; ++c) {
    const float d = x[c] - maximum, e = expf(d), weight = weights ? weights[c] : 1.0f;
    if (c != t) others += e;
    all_weights += weight;
    if (smoothing > 0.0f && weight != 0.0f) deviations += weight * d;
    x[c] = e;
  }
  const float own = expf(shifted), sum = others + own, inverse = 1.0f / sum, share = smoothing / static_cast<float>(classes);
  const float log_sum = shifted == 0.0f ? log1pf(others) : logf(sum);
  const float weight = (1.0f - smoothing) * (known && weights ? weights[t] : 1.0f);
  for (int c = 0; c < classes; ++c) {
    const float p = x[c] * inverse;
    float g = c == t ? -weight * (others * inverse) : weight * p;
    if (!known) g = NAN;
    if (smoothing > 0.0f) g += share * (p * all_weights - (weights ? weights[c] : 1.0f));
    x[c] = g * scale;
  }
  const float loss = weight * (log_sum - shifted);
  return smoothing > 0.0f ? loss + share * (all_weights * log_sum - deviations) : loss;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_tile_kernel(const T* logits, T* gradient, float* partials, TargetWeights of, StagedRows<T> tile, float smoothing) {
  EPITAXY_DYNAMIC_SHARED(float, shared);
  const float weight = weight_sum(of), scale = weight == 0.0f ? 0.0f : 1.0f / weight;
  float total = 0.0f;
  for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * tile.rows; base < of.rows;
       base += static_cast<std::int64_t>(gridDim.x) * tile.rows) {
    const int here = of.rows - base < tile.rows ? static_cast<int>(of.rows - base) : tile.rows;
    tile.load(logits + base * tile.classes, shared, here);
    __syncthreads();
    for (int row = static_cast<int>(threadIdx.x); row < here; row += kThreads)
      total += row_loss(shared + row * tile.stride, tile.classes, of.target[base + row], of.weights, smoothing, scale);
    __syncthreads();
    tile.store(gradient + base * tile.classes, shared, here);
    __syncthreads();
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

/// A warp walks a row of many classes three times, the later ones through the cache; the sums are those of row_loss.
template <class T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_warp_kernel(const T* logits, T* gradient, float* partials, TargetWeights of, float smoothing) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float weight_total = weight_sum(of), scale = weight_total == 0.0f ? 0.0f : 1.0f / weight_total;
  const int classes = static_cast<int>(of.classes);
  const float share = smoothing / static_cast<float>(classes);
  float total = 0.0f;
  for (std::int64_t row = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32; row < of.rows;
       row += static_cast<std::int64_t>(gridDim.x) * (kThreads / 32)) {  // the same for a whole warp
    const std::int32_t t = of.target[row];
    const T* x = logits + row * classes;
    T* dx = gradient + row * classes;
    if (t == kIgnoredTarget) {
      for (int c = lane; c < classes; c += 32) dx[c] = store_float<T>(0.0f);
      continue;
    }
    const bool known = t >= 0 && t < classes;
    float maximum = -INFINITY, others = 0.0f, all_weights = 0.0f, deviations = 0.0f;
    for (int c = lane; c < classes; c += 32) maximum = Max{}(load_float(x[c]), maximum);
    maximum = warp_max(maximum);
    for (int c = lane; c < classes; c += 32) {
      const float d = load_float(x[c]) - maximum, weight = of.weights ? of.weights[c] : 1.0f;
      if (c != t) others += expf(d);
      all_weights += weight;
      if (smoothing > 0.0f && weight != 0.0f) deviations += weight * d;
    }
    others = warp_sum(others);
    all_weights = warp_sum(all_weights);
    const float shifted = known ? load_float(x[t]) - maximum : NAN;
    const float sum = others + expf(shifted), inverse = 1.0f / sum;
    const float log_sum = shifted == 0.0f ? log1pf(others) : logf(sum);
    const float weight = (1.0f - smoothing) * (known && of.weights ? of.weights[t] : 1.0f);
    for (int c = lane; c < classes; c += 32) {
      const float p = expf(load_float(x[c]) - maximum) * inverse;
      float g = c == t ? -weight * (others * inverse) : weight * p;
      if (smoothing > 0.0f) g += share * (p * all_weights - (of.weights ? of.weights[c] : 1.0f));
      dx[c] = store_float<T>(g * scale);
    }
    if (lane == 0) total += weight * (log_sum - shifted) + share * all_weights * log_sum;
    if (smoothing > 0.0f) total -= share * deviations;
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

/// Counts of rows whose first largest logit is the target's, and of targets that count; partials [2][kLossPartials].
__device__ __forceinline__ void store_counts(int hits, int counted, int* partials) {
  hits = block_sum<kThreads>(hits);
  counted = block_sum<kThreads>(counted);
  if (threadIdx.x == 0) partials[blockIdx.x] = hits, partials[kLossPartials + blockIdx.x] = counted;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    accuracy_tile_kernel(const T* logits, const std::int32_t* target, int* partials, std::int64_t rows, StagedRows<T> tile) {
  EPITAXY_DYNAMIC_SHARED(float, shared);
  int hits = 0, counted = 0;
  for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * tile.rows; base < rows;
       base += static_cast<std::int64_t>(gridDim.x) * tile.rows) {
    const int here = rows - base < tile.rows ? static_cast<int>(rows - base) : tile.rows;
    tile.load(logits + base * tile.classes, shared, here);
    __syncthreads();
    for (int row = static_cast<int>(threadIdx.x); row < here; row += kThreads) {
      const std::int32_t t = target[base + row];
      if (t == kIgnoredTarget) continue;
      ++counted;
      const float* x = shared + row * tile.stride;
      int first = 0;
      bool numbers = true;
      for (int c = 0; c < tile.classes; ++c) {
        if (x[c] > x[first]) first = c;
        numbers = numbers && x[c] == x[c];
      }
      if (numbers && first == t) ++hits;
    }
    __syncthreads();
  }
  store_counts(hits, counted, partials);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    accuracy_warp_kernel(const T* logits, const std::int32_t* target, int* partials, std::int64_t rows, int classes) {
  constexpr int kNone = std::numeric_limits<int>::max();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int hits = 0, counted = 0;
  for (std::int64_t row = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32; row < rows;
       row += static_cast<std::int64_t>(gridDim.x) * (kThreads / 32)) {
    const std::int32_t t = target[row];
    if (t == kIgnoredTarget) continue;
    float largest = -INFINITY;
    int at = kNone;
    for (int c = lane; c < classes; c += 32) {
      const float x = load_float(logits[row * classes + c]);
      if (at == kNone || x > largest || x != x) largest = x, at = c;
      if (x != x) break;
    }
    const float maximum = warp_max(largest);
    const int first = warp_min(largest == maximum ? at : kNone);
    if (lane == 0) ++counted, hits += first == t;
  }
  store_counts(hits, counted, partials);
}

__global__ void __launch_bounds__(kThreads) finish_accuracy_kernel(const int* partials, int blocks, float* result) {
  long long hits = 0, counted = 0;
  for (int i = static_cast<int>(threadIdx.x); i < blocks; i += kThreads) hits += partials[i], counted += partials[kLossPartials + i];
  hits = block_sum<kThreads>(hits);
  counted = block_sum<kThreads>(counted);
  if (threadIdx.x == 0) *result = counted == 0 ? 0.0f : static_cast<float>(static_cast<double>(hits) / static_cast<double>(counted));
}

/// Blocks for `work` items of which a block takes `per_block` a turn: by the shape alone.
int block_count(std::int64_t work, std::int64_t per_block) {
  const std::int64_t wanted = (work + per_block - 1) / per_block;
  return static_cast<int>(wanted < kLossPartials ? wanted : kLossPartials);
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
  launch(stream, "loss_mean", finish_mean_kernel, dim3(1), dim3(kThreads), 0, static_cast<const float*>(partials), blocks,
         static_cast<float>(args.count), args.loss);
}

template <>
void softmax_cross_entropy<World>(const CrossEntropyArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  float* partials = static_cast<float*>(args.workspace);
  TargetWeights of{args.target, args.weights, nullptr, args.rows, args.classes, 0};
  if (args.rows > kFewTargets) {
    of.partials = partials + kLossPartials;
    of.blocks = block_count(args.rows, kThreads);
    launch(stream, "target_weight", target_weight_kernel, dim3(static_cast<unsigned>(of.blocks)), dim3(kThreads), 0, args.target,
           args.weights, partials + kLossPartials, args.rows, args.classes);
  }
  int blocks = 0;
  with_float(args.dtype, [&]<class T>() {
    const T* logits = static_cast<const T*>(args.logits);
    T* gradient = static_cast<T*>(args.gradient);
    if (args.classes <= kStagedClasses) {
      const StagedRows<T> tile = staged_rows<T>(args.classes);
      blocks = block_count(args.rows, tile.rows);
      launch(stream, "softmax_cross_entropy", cross_entropy_tile_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads),
             sizeof(float) * tile.rows * tile.stride, logits, gradient, partials, of, tile, args.smoothing);
    } else {
      blocks = block_count(args.rows, kThreads / 32);
      launch(stream, "softmax_cross_entropy", cross_entropy_warp_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, logits,
             gradient, partials, of, args.smoothing);
    }
  });
  launch(stream, "loss_mean", finish_cross_entropy_kernel, dim3(1), dim3(kThreads), 0, static_cast<const float*>(partials), blocks, of,
         args.loss);
}

template <>
void accuracy<World>(const AccuracyArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  int* partials = static_cast<int*>(args.workspace);
  int blocks = 0;
  with_float(args.dtype, [&]<class T>() {
    const T* logits = static_cast<const T*>(args.logits);
    if (args.classes <= kStagedClasses) {
      const StagedRows<T> tile = staged_rows<T>(args.classes);
      blocks = block_count(args.rows, tile.rows);
      launch(stream, "accuracy", accuracy_tile_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads),
             sizeof(float) * tile.rows * tile.stride, logits, args.target, partials, args.rows, tile);
    } else {
      blocks = block_count(args.rows, kThreads / 32);
      launch(stream, "accuracy", accuracy_warp_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, logits, args.target,
             partials, args.rows, static_cast<int>(args.classes));
    }
  });
  launch(stream, "accuracy_mean", finish_accuracy_kernel, dim3(1), dim3(kThreads), 0, static_cast<const int*>(partials), blocks,
         args.accuracy);
}

}  // namespace epitaxy
