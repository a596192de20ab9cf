// Convolution: the path of the plan, the ordered sum of a split filter gradient, and statistics where the path leaves them to a pass of
// their own.
#include "kernels/conv2d.h"

#include "epitaxy/dtype_switch.h"
#include "epitaxy/error.h"
#include "kernels/batch_norm.h"
#include "kernels/conv2d_paths.h"
#include "kernels/conv2d_wgmma.h"
#include "kernels/device/channel_tiles.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;

/// result[i] = the sum of partial[split][i]: `ways` strands of every ways-th split, each in order, then the strands in order.
__global__ void __launch_bounds__(kThreads)
    sum_splits_kernel(float* result, const float* partial, std::int64_t count, int splits, int ways) {
  EPITAXY_SHARED(float, strands, [kThreads]);
  const int width = kThreads / ways, lane = static_cast<int>(threadIdx.x) % width, way = static_cast<int>(threadIdx.x) / width;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * width + lane;
  float sum = 0.0f;
  if (i < count) {
    sum = partial[way * count + i];
#pragma unroll 4
    for (int split = way + ways; split < splits; split += ways) sum += partial[split * count + i];
  }
  if (ways > 1) {
    strands[threadIdx.x] = sum;
    __syncthreads();
    if (way > 0) return;
    for (int other = 1; other < ways; ++other) sum += strands[other * width + lane];
  }
  if (i < count) result[i] = sum;
}

void sum_splits(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  const std::int64_t count = d.k * d.r * d.s * d.group_inputs();
  const int splits = args.plan.splits, ways = splits >= 16 ? 8 : 1, width = kThreads / ways;
  launch(stream, "conv2d_sum_splits", sum_splits_kernel, static_cast<unsigned>((count + width - 1) / width), kThreads, 0,
         static_cast<float*>(args.result), static_cast<const float*>(args.workspace), count, splits, ways);
}

/// Mean and sum of squared deviations of each tile of pixels of y: two passes, the second from the cache.
template <class T, int N>
__global__ void __launch_bounds__(kTileThreads)
    conv2d_statistics_kernel(const T* y, float* statistics, std::int64_t pixels, std::int64_t channels, ChannelLayout layout) {
  EPITAXY_SHARED(float, means, [32 * N]);
  const ChannelPlace place = channel_place<N>(layout, channels);
  const std::int64_t first = blockIdx.x * kConv2dStatisticsPixels;
  const std::int64_t last = pixels - first < kConv2dStatisticsPixels ? pixels : first + kConv2dStatisticsPixels;
  const std::int64_t begin = place.active ? first + place.row : last;
  const float share = 1.0f / static_cast<float>(last - first);
  float sums[1][N] = {}, squares[1][N] = {};
#pragma unroll 4
  for (std::int64_t p = begin; p < last; p += layout.rows) {
    float values[N];
    load_floats(values, y + p * channels + place.channel);
#pragma unroll
    for (int i = 0; i < N; ++i) sums[0][i] += values[i];
  }
  add_rows(sums, layout, place);
  if (place.active && place.row == 0)
#pragma unroll
    for (int i = 0; i < N; ++i) means[place.lane * N + i] = sums[0][i] * share;
  __syncthreads();
#pragma unroll 4
  for (std::int64_t p = begin; p < last; p += layout.rows) {
    float values[N];
    load_floats(values, y + p * channels + place.channel);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float d = values[i] - means[place.lane * N + i];
      squares[0][i] += d * d;
    }
  }
  add_rows(squares, layout, place);
  if (!place.active || place.row != 0) return;
  float* to = statistics + 2 * static_cast<std::int64_t>(blockIdx.x) * channels + place.channel;
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = means[place.lane * N + i], to[channels + i] = squares[0][i];
}

template <class T>
void launch_statistics(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  const T* y = static_cast<const T*>(args.result);
  with_channel_vector<T>(d.k, is_aligned<T, kVectorWidth<T>>(y), [&]<int N>() {
    const ChannelLayout layout = channel_layout(d.k, N);
    launch(stream, "conv2d_statistics", conv2d_statistics_kernel<T, N>,
           dim3(static_cast<unsigned>(d.statistics_tiles(d.output_pixels())), layout.chunks), kTileThreads, 0, y, args.statistics,
           d.output_pixels(), d.k, layout);
  });
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;

namespace {

/// Batch normalisation's sums over dx, as it was stored.
void sum_gradient(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  BatchNormReduceArgs sums{};
  sums.x = args.normalised, sums.dy = args.result;
  sums.mean = args.mean, sums.inverse_std = args.inverse_std;
  sums.partials = args.statistics;
  sums.pixels = d.image_pixels(), sums.channels = d.c, sums.dtype = d.dtype;
  batch_norm_partial_sums<World>(sums, kConv2dStatisticsPixels, stream);
}

}  // namespace

template <>
void conv2d<World>(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  switch (args.plan.path) {
    case Conv2dPath::simt: conv2d_simt<World>(args, stream); break;
    case Conv2dPath::first: conv2d_first<World>(args, stream); break;
    case Conv2dPath::depthwise: conv2d_depthwise<World>(args, stream); break;
    case Conv2dPath::wgmma:
      if (args.plan.tile >= Conv2dTile::m256n64_strips) {
        conv2d_wgmma_strips<World>(args, stream);
        break;
      }
      switch (args.pass) {
        case Conv2dPass::forward: conv2d_wgmma_forward<World>(args, stream); break;
        case Conv2dPass::input_gradient: conv2d_wgmma_input_gradient<World>(args, stream); break;
        case Conv2dPass::filter_gradient: conv2d_wgmma_filter_gradient<World>(args, stream); break;
      }
      break;
    case Conv2dPath::mma:
      switch (args.pass) {
        case Conv2dPass::forward: conv2d_mma_forward<World>(args, stream); break;
        case Conv2dPass::input_gradient: conv2d_mma_input_gradient<World>(args, stream); break;
        case Conv2dPass::filter_gradient: conv2d_mma_filter_gradient<World>(args, stream); break;
      }
  }
  if (d.statistics && !computes_statistics(args.pass, d, args.plan)) {
    if (args.pass == Conv2dPass::forward)
      with_float(d.dtype, [&]<class T>() { EPITAXY_WORLD::launch_statistics<T>(args, stream); });
    else
      sum_gradient(args, stream);
  }
  if (args.pass == Conv2dPass::filter_gradient && args.plan.splits > 1) EPITAXY_WORLD::sum_splits(args, stream);
}
}  // namespace epitaxy
