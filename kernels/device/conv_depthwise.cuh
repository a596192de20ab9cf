// Depthwise convolution: every channel on its own, bound by memory. A thread holds N neighbouring channels; lanes of a warp are neighbours
// in memory.
#pragma once

#include "kernels/device/channel_tiles.cuh"
#include "kernels/device/conv_gradient.cuh"
#include "kernels/device/conv_loaders.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// One pass in terms of what it reads ("source") and writes. Forward: x to y. Input gradient: dy to dx; where that is a forward pass over
/// dy with the filter turned, it is run as one.
struct DepthwiseParams {
  ConvGeometry g;  // of the source (height, width) and the result (out_height, out_width); top, left of the walk over the source
  const void *source, *filter, *residual;
  const float* bias;
  void* result;
  ConvGradient gradient;
  std::int64_t units;  // forward: strips of output pixels
  int pixels, part_pixels;
  bool relu, turned;
};

/// Output pixels of a line that a thread computes together.
inline constexpr int kStrip = 4;

/// filter [k, r, s] of the block's channels -> shared [r * s][lanes * N], turned by 180 degrees where asked.
template <class T, int N>
__device__ __forceinline__ void stage_filter(float* taps, const T* filter, const ConvGeometry& g, const ChannelLayout& layout,
                                             bool turned) {
  const int width = layout.lanes * N, count = g.rows * g.columns;
  for (int i = static_cast<int>(threadIdx.x); i < width * count; i += kTileThreads) {
    const int channel = i / count, tap = i % count;
    const std::int64_t k = static_cast<std::int64_t>(blockIdx.y) * width + channel;
    taps[(turned ? count - 1 - tap : tap) * width + channel] = k < g.channels ? load_float(filter[k * count + tap]) : 0.0f;
  }
  __syncthreads();
}

/// The input gradient's epilogue, but for its sums.
template <class T, int N>
__device__ __forceinline__ void finish_channels(const ConvGradient& e, std::int64_t pixel, int channel, float (&values)[N]) {
  float none[2][N] = {};
  if (e.channels) finish_gradient<true, T, N>(e, pixel, channel, N, values, none);
}

/// result = conv(source, filter) with the epilogue, a strip of kStrip pixels a thread. kColumns: filter columns known at compile time, for
/// stride and dilation 1 across, where neighbouring windows share their loads; 0: any.
template <class T, int N, int kColumns>
__global__ void __launch_bounds__(kTileThreads, 2)
    conv2d_depthwise_kernel(const __grid_constant__ DepthwiseParams p, ChannelLayout layout) {
  EPITAXY_DYNAMIC_SHARED(float, taps);
  const ConvGeometry& g = p.g;
  stage_filter<T, N>(taps, static_cast<const T*>(p.filter), g, layout, p.turned);
  const ChannelPlace place = channel_place<N>(layout, g.channels);
  const std::int64_t unit = static_cast<std::int64_t>(blockIdx.x) * layout.rows + place.row;
  if (!place.active || unit >= p.units) return;
  const int strips = (g.out_width + kStrip - 1) / kStrip;
  const int q = static_cast<int>(unit % strips) * kStrip, line = static_cast<int>(unit / strips);
  const int item = line / g.out_height * g.height, y0 = line % g.out_height * g.stride_y - g.top, x0 = q * g.stride_x - g.left;
  const T* source = static_cast<const T*>(p.source) + place.channel;
  const float* mine = taps + place.lane * N;
  const int width = layout.lanes * N;

  float sums[kStrip][N] = {};
  const auto load = [&](float(&values)[N], int y, int x) {
    if (g.wrap_x) x = wrapped(x, g.width);
    if (static_cast<unsigned>(x) < static_cast<unsigned>(g.width)) {
      load_floats(values, source + (static_cast<std::int64_t>(item + y) * g.width + x) * g.channels);
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i) values[i] = 0.0f;
    }
  };
  for (int r = 0; r < g.rows; ++r) {
    int y = y0 + r * g.dilation_y;
    if (g.wrap_y) y = wrapped(y, g.height);
    if (static_cast<unsigned>(y) >= static_cast<unsigned>(g.height)) continue;
    if constexpr (kColumns > 0) {
      float weights[kColumns][N];
#pragma unroll
      for (int s = 0; s < kColumns; ++s)
#pragma unroll
        for (int i = 0; i < N; ++i) weights[s][i] = mine[(r * kColumns + s) * width + i];
#pragma unroll
      for (int at = 0; at < kStrip + kColumns - 1; ++at) {
        float values[N];
        load(values, y, x0 + at);
#pragma unroll
        for (int s = 0; s < kColumns; ++s)
          if (at - s >= 0 && at - s < kStrip)
#pragma unroll
            for (int i = 0; i < N; ++i) sums[at - s][i] += values[i] * weights[s][i];
      }
    } else {
      for (int s = 0; s < g.columns; ++s) {
        const float* weight = mine + (r * g.columns + s) * width;
#pragma unroll
        for (int j = 0; j < kStrip; ++j) {
          float values[N];
          load(values, y, x0 + j * g.stride_x + s * g.dilation_x);
#pragma unroll
          for (int i = 0; i < N; ++i) sums[j][i] += values[i] * weight[i];
        }
      }
    }
  }
  const std::int64_t first = static_cast<std::int64_t>(line) * g.out_width + q;
#pragma unroll
  for (int j = 0; j < kStrip; ++j) {
    if (q + j >= g.out_width) break;
    const std::int64_t at = (first + j) * g.channels + place.channel;
    if (p.bias)
#pragma unroll
      for (int i = 0; i < N; ++i) sums[j][i] += p.bias[place.channel + i];
    if (p.residual) {
      float other[N];
      load_floats(other, static_cast<const T*>(p.residual) + at);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[j][i] += other[i];
    }
    if (p.relu)
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (sums[j][i] <= 0.0f) sums[j][i] = 0.0f;  // NaN stays NaN
    finish_channels<T>(p.gradient, first + j, static_cast<int>(place.channel), sums[j]);
    store_floats(static_cast<T*>(p.result) + at, sums[j]);
  }
}

/// dx of one pixel: every output that a tap carried it to, directly or over a period of the padding. For strides, and for periodic
/// padding whose output has another size.
template <class T, int N>
__global__ void __launch_bounds__(kTileThreads, 2)
    conv2d_depthwise_gather_kernel(const __grid_constant__ DepthwiseParams p, ChannelLayout layout) {
  EPITAXY_DYNAMIC_SHARED(float, taps);
  const ConvGeometry& g = p.g;
  stage_filter<T, N>(taps, static_cast<const T*>(p.filter), g, layout, false);
  const ChannelPlace place = channel_place<N>(layout, g.channels);
  const std::int64_t pixel = static_cast<std::int64_t>(blockIdx.x) * layout.rows + place.row;
  if (!place.active || pixel >= p.units) return;
  const int w = static_cast<int>(pixel % g.width), h = static_cast<int>(pixel / g.width) % g.height;
  const int item = static_cast<int>(pixel / g.width / g.height) * g.out_height;
  const T* dy = static_cast<const T*>(p.source) + place.channel;
  float sums[N] = {};
  for (int r = 0; r < g.rows; ++r)
    for (int wrap_y = -g.wraps_above; wrap_y <= g.wraps_below; ++wrap_y) {
      const int at_y = h + wrap_y * g.height + g.top - r * g.dilation_y;
      if (at_y < 0 || at_y % g.stride_y != 0 || at_y / g.stride_y >= g.out_height) continue;
      const std::int64_t line = static_cast<std::int64_t>(item + at_y / g.stride_y) * g.out_width;
      for (int s = 0; s < g.columns; ++s)
        for (int wrap_x = -g.wraps_left; wrap_x <= g.wraps_right; ++wrap_x) {
          const int at_x = w + wrap_x * g.width + g.left - s * g.dilation_x;
          if (at_x < 0 || at_x % g.stride_x != 0 || at_x / g.stride_x >= g.out_width) continue;
          float values[N];
          load_floats(values, dy + (line + at_x / g.stride_x) * g.channels);
          const float* weight = taps + (r * g.columns + s) * layout.lanes * N + place.lane * N;
#pragma unroll
          for (int i = 0; i < N; ++i) sums[i] += values[i] * weight[i];
        }
    }
  finish_channels<T>(p.gradient, pixel, static_cast<int>(place.channel), sums);
  store_floats(static_cast<T*>(p.result) + pixel * g.channels + place.channel, sums);
}

/// How a block of the filter gradient lies: lanes of N channels x groups of kAcross neighbouring taps x rows of pixels.
struct DepthwiseLayout {
  int lanes, taps, rows;
  int chunks, tap_chunks;
};

/// dw of kAcross neighbouring taps of a filter row, over the split's pixels; a split's result is [k][r][s]. Rows are added in order.
template <class T, int N, int kAcross>
__global__ void __launch_bounds__(kTileThreads, 2)
    conv2d_depthwise_gradient_kernel(const __grid_constant__ DepthwiseParams p, const T* dy_all, DepthwiseLayout layout) {
  EPITAXY_DYNAMIC_SHARED(float, shared);  // [rows][taps][lanes][kAcross * N]
  const ConvGeometry& g = p.g;
  const int lane = static_cast<int>(threadIdx.x) % layout.lanes, rest = static_cast<int>(threadIdx.x) / layout.lanes;
  const int in_block = rest % layout.taps, row = rest / layout.taps, across = g.columns / kAcross;
  const int tap = static_cast<int>(blockIdx.y) / layout.chunks * layout.taps + in_block;
  const std::int64_t channel = (static_cast<std::int64_t>(blockIdx.y % layout.chunks) * layout.lanes + lane) * N;
  const bool active = row < layout.rows && tap < g.rows * across && channel < g.channels;
  const int r = tap / across, s = tap % across * kAcross;
  float sums[kAcross][N] = {};
  if (active) {
    const T* x = static_cast<const T*>(p.source) + channel;
    const T* dy = dy_all + channel;
    const int begin = static_cast<int>(blockIdx.x) * p.part_pixels,
              end = p.pixels - begin < p.part_pixels ? p.pixels : begin + p.part_pixels;
    int q = (begin + row) % g.out_width, line = (begin + row) / g.out_width;
#pragma unroll 2
    for (int pixel = begin + row; pixel < end; pixel += layout.rows) {
      int y = line % g.out_height * g.stride_y - g.top + r * g.dilation_y;
      if (g.wrap_y) y = wrapped(y, g.height);
      if (static_cast<unsigned>(y) < static_cast<unsigned>(g.height)) {
        const std::int64_t source = static_cast<std::int64_t>(line / g.out_height * g.height + y) * g.width;
        float gradient[N];
        load_floats(gradient, dy + static_cast<std::int64_t>(pixel) * g.channels);
#pragma unroll
        for (int a = 0; a < kAcross; ++a) {
          int at = q * g.stride_x - g.left + (s + a) * g.dilation_x;
          if (g.wrap_x) at = wrapped(at, g.width);
          if (static_cast<unsigned>(at) >= static_cast<unsigned>(g.width)) continue;
          float values[N];
          load_floats(values, x + (source + at) * g.channels);
#pragma unroll
          for (int i = 0; i < N; ++i) sums[a][i] += gradient[i] * values[i];
        }
      }
      q += layout.rows;
      while (q >= g.out_width) q -= g.out_width, ++line;
    }
  }
  constexpr int kSums = kAcross * N;
  const int stride = layout.taps * layout.lanes * kSums, slot = (in_block * layout.lanes + lane) * kSums;
  if (active && row > 0)
#pragma unroll
    for (int i = 0; i < kSums; ++i) shared[row * stride + slot + i] = sums[i / N][i % N];
  __syncthreads();
  if (!active || row > 0) return;
  float* result = static_cast<float*>(p.result) + static_cast<std::int64_t>(blockIdx.x) * g.channels * g.rows * g.columns;
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    float sum = sums[i / N][i % N];
    for (int other = 1; other < layout.rows; ++other) sum += shared[other * stride + slot + i];
    result[(channel + i % N) * g.rows * g.columns + r * g.columns + s + i / N] = sum;
  }
}

}  // namespace epitaxy::EPITAXY_WORLD
