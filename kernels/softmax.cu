// Softmax over rows: 8 or 32 lanes hold a row in registers, or a block walks a long one three times through the cache.
#include "kernels/softmax.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/block.cuh"
#include "kernels/device/ptx.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;

/// y_i from x_i, the row's maximum, and 1 / sum or log(sum).
__device__ __forceinline__ float value(bool log, float x, float maximum, float factor) {
  return log ? (x - maximum) - factor : expf(x - maximum) * factor;
}

/// dx_i from y_i, dy_i and the row's sum of dy * y (softmax) or dy (log-softmax).
__device__ __forceinline__ float gradient(bool log, float y, float dy, float sum) { return log ? dy - expf(y) * sum : y * (dy - sum); }

/// kLanes lanes a row, each with up to kPerLane elements at lane, lane + kLanes, ...
template <class T, bool kBackward, int kLanes, int kPerLane>
__global__ void __launch_bounds__(kThreads) softmax_rows_kernel(const T* x, const T* dy, T* y, std::int64_t rows, int columns, bool log) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const std::int64_t start = row * columns;
  float a[kPerLane], b[kBackward ? kPerLane : 1];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int column = lane + i * kLanes;
    const bool inside = row < rows && column < columns;  // every lane stays for the reductions
    a[i] = inside ? load_float(x[start + column]) : kBackward ? 0.0f : -INFINITY;
    if constexpr (kBackward) b[i] = inside ? load_float(dy[start + column]) : 0.0f;
  }
  float maximum = -INFINITY, sum = 0.0f;
  if constexpr (kBackward) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) sum += log ? b[i] : a[i] * b[i];
    sum = warp_sum<kLanes>(sum);
  } else {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) maximum = Max{}(a[i], maximum);
    maximum = warp_max<kLanes>(maximum);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if (lane + i * kLanes < columns) sum += expf(a[i] - maximum);
    sum = warp_sum<kLanes>(sum);
    sum = log ? logf(sum) : 1.0f / sum;
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int column = lane + i * kLanes;
    if (row >= rows || column >= columns) continue;
    if constexpr (kBackward)
      y[start + column] = store_float<T>(gradient(log, a[i], b[i], sum));
    else
      y[start + column] = store_float<T>(value(log, a[i], maximum, sum));
  }
}

/// One block a row of any length.
template <class T, bool kBackward>
__global__ void __launch_bounds__(kThreads) softmax_long_kernel(const T* x, const T* dy, T* y, std::int64_t columns, bool log) {
  const std::int64_t start = static_cast<std::int64_t>(blockIdx.x) * columns;
  const std::int64_t first = threadIdx.x;
  float maximum = -INFINITY, sum = 0.0f;
  if constexpr (kBackward) {
    for (std::int64_t c = first; c < columns; c += kThreads) {
      const float d = load_float(dy[start + c]);
      sum += log ? d : d * load_float(x[start + c]);
    }
    sum = block_sum<kThreads>(sum);
  } else {
    for (std::int64_t c = first; c < columns; c += kThreads) maximum = Max{}(load_float(x[start + c]), maximum);
    maximum = block_max<kThreads>(maximum, -INFINITY);
    for (std::int64_t c = first; c < columns; c += kThreads) sum += expf(load_float(x[start + c]) - maximum);
    sum = block_sum<kThreads>(sum);
    sum = log ? logf(sum) : 1.0f / sum;
  }
  for (std::int64_t c = first; c < columns; c += kThreads) {
    if constexpr (kBackward)
      y[start + c] = store_float<T>(gradient(log, load_float(x[start + c]), load_float(dy[start + c]), sum));
    else
      y[start + c] = store_float<T>(value(log, load_float(x[start + c]), maximum, sum));
  }
}

template <class T, bool kBackward, int kLanes, int kPerLane>
void run_rows(const SoftmaxArgs& args, Stream stream) {
  constexpr std::int64_t kRows = kThreads / kLanes;
  launch(stream, kBackward ? "softmax_gradient" : "softmax", softmax_rows_kernel<T, kBackward, kLanes, kPerLane>,
         dim3(static_cast<unsigned>((args.rows + kRows - 1) / kRows)), dim3(kThreads), 0, static_cast<const T*>(args.x),
         static_cast<const T*>(args.dy), static_cast<T*>(args.y), args.rows, static_cast<int>(args.columns), args.log);
}

template <bool kBackward>
void run(const SoftmaxArgs& args, Stream stream) {
  if (args.columns == 0) return;
  with_float(args.dtype, [&]<class T>() {
    if (args.columns <= 32) return run_rows<T, kBackward, 8, 4>(args, stream);
    if (args.columns <= 256) return run_rows<T, kBackward, 32, 8>(args, stream);
    if (args.columns <= 1024) return run_rows<T, kBackward, 32, 32>(args, stream);
    launch(stream, kBackward ? "softmax_gradient" : "softmax", softmax_long_kernel<T, kBackward>, dim3(static_cast<unsigned>(args.rows)),
           dim3(kThreads), 0, static_cast<const T*>(args.x), static_cast<const T*>(args.dy), static_cast<T*>(args.y), args.columns,
           args.log);
  });
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void softmax_forward<World>(const SoftmaxArgs& args, Stream stream) {
  EPITAXY_WORLD::run<false>(args, stream);
}
template <>
void softmax_backward<World>(const SoftmaxArgs& args, Stream stream) {
  EPITAXY_WORLD::run<true>(args, stream);
}
}  // namespace epitaxy
