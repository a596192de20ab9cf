// Periodic padding for TMA, which knows zeros only: the image is copied into the workspace with its periods around it.
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

/// The same pass over copies in the workspace whose periods are written out; `args` itself where nothing is periodic.
inline Conv2dArgs unroll_periods(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  Conv2dArgs result = args;
  result.problem = conv2d_unrolled(args.pass, d);
  if (result.problem == d) return result;
  constexpr int kThreads = 256;
  const Conv2dProblem& wide = result.problem;
  const bool gradient = args.pass == Conv2dPass::input_gradient;
  auto* memory = reinterpret_cast<unsigned char*>(args.workspace) + conv2d_partial_bytes(args.pass, d, args.plan);
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
