// What the Hopper convolution needs written out in the workspace first: an image with its periods around it, since TMA pads with zeros
// only, and for tf32's input gradient the filter with its reduction innermost, since wgmma multiplies tf32 along alone.
#pragma once

#include <algorithm>

#include "kernels/conv2d_wgmma.h"
#include "kernels/device/vector.cuh"

namespace epitaxy::EPITAXY_WORLD {

struct WrapParams {
  const uint4* from;  // [n, height, width, units]
  uint4* to;          // [n, wide_height, wide_width, units]
  std::int64_t count;
  int height, width, wide_height, wide_width, units, above, left;
};

__device__ __forceinline__ int wrapped_into(int at, int size) {
  const int rest = at % size;
  return rest < 0 ? rest + size : rest;
}

/// One thread a 16-byte unit.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) wrap_kernel(WrapParams p) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.count) return;
  const auto unit = static_cast<int>(i % p.units);
  const std::int64_t pixel = i / p.units;
  const auto x = static_cast<int>(pixel % p.wide_width), y = static_cast<int>(pixel / p.wide_width % p.wide_height);
  const std::int64_t image = pixel / p.wide_width / p.wide_height;
  const int from_x = wrapped_into(x - p.left, p.width), from_y = wrapped_into(y - p.above, p.height);
  p.to[i] = p.from[((image * p.height + from_y) * p.width + from_x) * p.units + unit];
}

/// to[c][tap][k] = from[k][tap][c], 32 x 32 elements of one tap a block.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) transpose_filter_kernel(const float* from, float* to, int outputs, int taps, int channels) {
  EPITAXY_SHARED(float, tile, [32][33]);
  const int column_tiles = (channels + 31) / 32, block = static_cast<int>(blockIdx.x) / taps, tap = static_cast<int>(blockIdx.x) % taps;
  const int first_k = block / column_tiles * 32, first_c = block % column_tiles * 32;
  const int lane = static_cast<int>(threadIdx.x) % 32, line = static_cast<int>(threadIdx.x) / 32;
  for (int i = line; i < 32; i += kThreads / 32)
    if (first_k + i < outputs && first_c + lane < channels)
      tile[i][lane] = from[(static_cast<std::int64_t>(first_k + i) * taps + tap) * channels + first_c + lane];
  __syncthreads();
  for (int i = line; i < 32; i += kThreads / 32)
    if (first_c + i < channels && first_k + lane < outputs)
      to[(static_cast<std::int64_t>(first_c + i) * taps + tap) * outputs + first_k + lane] = tile[lane][i];
}

/// The same pass over copies in the workspace; `args` itself where none is needed.
inline Conv2dArgs prepare_wgmma(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  const bool gradient = args.pass == Conv2dPass::input_gradient;
  constexpr int kThreads = 256;
  Conv2dArgs result = args;
  auto* memory = reinterpret_cast<unsigned char*>(args.workspace) + conv2d_partial_bytes(args.pass, d, args.plan);
  if (gradient && d.dtype == DType::fp32) {
    const auto blocks = static_cast<unsigned>((d.k + 31) / 32 * ((d.c + 31) / 32) * d.r * d.s);
    launch(stream, "conv2d_transpose_filter", transpose_filter_kernel<kThreads>, dim3(blocks), dim3(kThreads), 0,
           static_cast<const float*>(args.filter), reinterpret_cast<float*>(memory), static_cast<int>(d.k), static_cast<int>(d.r * d.s),
           static_cast<int>(d.c));
    result.filter = memory;
    memory += conv2d_transposed_bytes(args.pass, d);
  }
  result.problem = conv2d_unrolled(args.pass, d);
  if (result.problem == d) return result;
  const Conv2dProblem& wide = result.problem;
  const auto wrap = [&](const void* from, std::int64_t channels) -> const void* {
    WrapParams p{};
    p.from = static_cast<const uint4*>(from), p.to = reinterpret_cast<uint4*>(memory);
    p.height = static_cast<int>(gradient ? d.p : d.h), p.width = static_cast<int>(gradient ? d.q : d.w);
    p.wide_height = static_cast<int>(gradient ? wide.p : wide.h), p.wide_width = static_cast<int>(gradient ? wide.q : wide.w);
    p.units = static_cast<int>(channels * static_cast<std::int64_t>(size_of(d.dtype)) / 16);
    // dx reads dy backwards: what lies before its first row is the padding after x.
    p.above = p.wide_height > p.height ? static_cast<int>(d.padding[gradient ? 1 : 0]) : 0;
    p.left = p.wide_width > p.width ? static_cast<int>(d.padding[gradient ? 3 : 2]) : 0;
    p.count = d.n * p.wide_height * p.wide_width * p.units;
    launch(stream, "conv2d_wrap", wrap_kernel<kThreads>, dim3(static_cast<unsigned>((p.count + kThreads - 1) / kThreads)), dim3(kThreads),
           0, p);
    memory += conv2d_unrolled_bytes(args.pass, d, channels);
    return p.to;
  };
  if (gradient) {
    result.dy = wrap(args.dy, d.k);
  } else {
    result.x = wrap(args.x, d.first());
    if (d.second > 0) result.x2 = wrap(args.x2, d.second);
  }
  return result;
}

}  // namespace epitaxy::EPITAXY_WORLD
