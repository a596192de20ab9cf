// Weights and weighted sums over the steps of sequences.
#include "kernels/sequence_pool.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/ptx.cuh"
#include "kernels/device/warp.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;

/// A warp a sequence.
__global__ void __launch_bounds__(kThreads)
    sequence_weights_kernel(const std::int32_t* lengths, const float* scores, float* weights, std::int64_t batch, std::int64_t steps) {
  const std::int64_t n = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (n >= batch) return;  // whole warps
  const std::int64_t length = steps_of(lengths[n], steps), start = n * steps;
  float maximum = 0.0f, scale = 1.0f / static_cast<float>(length);
  if (scores) {
    maximum = -INFINITY;
    for (std::int64_t t = lane; t < length; t += 32) maximum = Max{}(scores[start + t], maximum);
    maximum = warp_max(maximum);
    float sum = 0.0f;
    for (std::int64_t t = lane; t < length; t += 32) sum += expf(scores[start + t] - maximum);
    scale = 1.0f / warp_sum(sum);
  }
  for (std::int64_t t = lane; t < steps; t += 32)
    weights[start + t] = t >= length ? 0.0f : scores ? expf(scores[start + t] - maximum) * scale : scale;
}

/// A thread an element of y.
template <class T>
__global__ void __launch_bounds__(kThreads)
    weighted_sum_kernel(const T* x, const float* weights, T* y, std::int64_t count, std::int64_t steps, std::int64_t channels) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t n = i / channels, c = i % channels;
  float sum = 0.0f;
  for (std::int64_t t = 0; t < steps; ++t) sum += weights[n * steps + t] * load_float(x[(n * steps + t) * channels + c]);
  y[i] = store_float<T>(sum);
}

/// A warp a step of a sequence: its row of dx, and its weight's gradient.
template <class T>
__global__ void __launch_bounds__(kThreads)
    weighted_sum_gradient_kernel(const T* x, const float* weights, const T* dy, T* dx, float* dweights, std::int64_t rows,
                                 std::int64_t steps, std::int64_t channels) {
  const std::int64_t row = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (row >= rows) return;  // whole warps
  const float weight = weights[row];
  const std::int64_t from = row / steps * channels, to = row * channels;
  float sum = 0.0f;
  for (std::int64_t c = lane; c < channels; c += 32) {
    const float d = load_float(dy[from + c]);
    sum += d * load_float(x[to + c]);
    dx[to + c] = store_float<T>(weight * d);
  }
  sum = warp_sum(sum);
  if (lane == 0) dweights[row] = sum;
}

dim3 blocks(std::int64_t threads) { return dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads)); }

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using namespace EPITAXY_WORLD;
template <>
void sequence_weights_forward<World>(const SequenceWeightsArgs& args, Stream stream) {
  launch(stream, "sequence_weights", sequence_weights_kernel, blocks(args.batch * 32), dim3(kThreads), 0, args.lengths, args.scores,
         args.weights, args.batch, args.steps);
}
template <>
void weighted_sum_forward<World>(const WeightedSumArgs& args, Stream stream) {
  const std::int64_t count = args.batch * args.channels;
  with_float(args.dtype, [&]<class T>() {
    launch(stream, "weighted_sum", weighted_sum_kernel<T>, blocks(count), dim3(kThreads), 0, static_cast<const T*>(args.x), args.weights,
           static_cast<T*>(args.y), count, args.steps, args.channels);
  });
}
template <>
void weighted_sum_backward<World>(const WeightedSumGradientArgs& args, Stream stream) {
  const std::int64_t rows = args.batch * args.steps;
  with_float(args.dtype, [&]<class T>() {
    launch(stream, "weighted_sum_gradient", weighted_sum_gradient_kernel<T>, blocks(rows * 32), dim3(kThreads), 0,
           static_cast<const T*>(args.x), args.weights, static_cast<const T*>(args.dy), static_cast<T*>(args.dx), args.dweights, rows,
           args.steps, args.channels);
  });
}
}  // namespace epitaxy
