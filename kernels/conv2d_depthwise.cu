// Depthwise convolution: launchers of its three passes.
#include "epitaxy/dtype_switch.h"
#include "kernels/conv2d_paths.h"
#include "kernels/device/conv_depthwise.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

template <class T, int N>
std::size_t filter_bytes(const ConvGeometry& g, const ChannelLayout& layout) {
  return sizeof(float) * static_cast<std::size_t>(g.rows * g.columns * layout.lanes * N);
}

template <class T, int N>
void walk(const DepthwiseParams& p, Stream stream) {
  const ChannelLayout layout = channel_layout(p.g.channels, N);
  const bool close = p.g.stride_x == 1 && p.g.dilation_x == 1;
  const auto start = [&](auto kernel) {
    launch(stream, "conv2d_depthwise", kernel, dim3(static_cast<unsigned>(divide_up(p.units, layout.rows)), layout.chunks), kTileThreads,
           filter_bytes<T, N>(p.g, layout), p, layout);
  };
  if (close && p.g.columns == 3)
    start(conv2d_depthwise_kernel<T, N, 3>);
  else if (close && p.g.columns == 5 && N <= 4)
    start(conv2d_depthwise_kernel<T, N, (N <= 4 ? 5 : 0)>);
  else
    start(conv2d_depthwise_kernel<T, N, 0>);
}

std::int64_t strips(const ConvGeometry& g, std::int64_t images) { return images * g.out_height * divide_up(g.out_width, kStrip); }

template <class T, int N>
void forward(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  DepthwiseParams p{};
  p.g = geometry_of(d);
  p.source = args.x, p.filter = args.filter, p.result = args.result;
  p.bias = d.bias ? args.bias : nullptr;
  p.residual = d.residual ? args.residual : nullptr;
  p.relu = d.activation == Activation::relu;
  p.units = strips(p.g, d.n);
  walk<T, N>(p, stream);
}

template <class T, int N>
void input_gradient(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  DepthwiseParams p{};
  p.g = geometry_of(d);
  p.source = args.dy, p.filter = args.filter, p.result = args.result;
  p.gradient = conv_gradient(args);
  const ConvGeometry& g = p.g;
  const bool plain = g.stride_y == 1 && g.stride_x == 1 && (!g.wrap_y || g.out_height == g.height) && (!g.wrap_x || g.out_width == g.width);
  if (!plain) {
    const ChannelLayout layout = channel_layout(g.channels, N);
    p.units = d.n * d.h * d.w;
    launch(stream, "conv2d_depthwise_gather", conv2d_depthwise_gather_kernel<T, N>,
           dim3(static_cast<unsigned>(divide_up(p.units, layout.rows)), layout.chunks), kTileThreads, filter_bytes<T, N>(g, layout), p,
           layout);
    return;
  }
  // dx[h] = sum over r of dy[h + top - r * dilation] * filter[r]: a walk over dy with the filter turned.
  p.turned = true;
  p.g.top = (g.rows - 1) * g.dilation_y - g.top, p.g.left = (g.columns - 1) * g.dilation_x - g.left;
  std::swap(p.g.height, p.g.out_height), std::swap(p.g.width, p.g.out_width);
  p.units = strips(p.g, d.n);
  walk<T, N>(p, stream);
}

template <class T, int N, int kAcross>
void filter_gradient(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  DepthwiseParams p{};
  p.g = geometry_of(d);
  p.source = args.x, p.result = args.plan.splits > 1 ? args.workspace : args.result;
  p.pixels = i32(d.output_pixels()), p.part_pixels = i32(divide_up(d.output_pixels(), args.plan.splits));
  const int groups = p.g.rows * p.g.columns / kAcross;
  DepthwiseLayout layout{};
  const ChannelLayout channels = channel_layout(d.c, N);
  layout.lanes = channels.lanes, layout.chunks = static_cast<int>(channels.chunks);
  layout.taps = std::min(groups, kTileThreads / layout.lanes);
  layout.rows = kTileThreads / (layout.lanes * layout.taps);
  layout.tap_chunks = i32(divide_up(groups, layout.taps));
  const std::size_t shared = sizeof(float) * static_cast<std::size_t>(layout.rows * layout.taps * layout.lanes * kAcross * N);
  launch(stream, "conv2d_depthwise_gradient", conv2d_depthwise_gradient_kernel<T, N, kAcross>,
         dim3(static_cast<unsigned>(args.plan.splits), static_cast<unsigned>(layout.chunks * layout.tap_chunks)), kTileThreads, shared, p,
         static_cast<const T*>(args.dy), layout);
}

template <class T, int N>
void run(const Conv2dArgs& args, Stream stream) {
  switch (args.pass) {
    case Conv2dPass::forward: return forward<T, N>(args, stream);
    case Conv2dPass::input_gradient: return input_gradient<T, N>(args, stream);
    case Conv2dPass::filter_gradient:
      return args.problem.s % 3 == 0 ? filter_gradient<T, N, 3>(args, stream) : filter_gradient<T, N, 1>(args, stream);
  }
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void conv2d_depthwise<World>(const Conv2dArgs& args, Stream stream) {
  with_float(args.problem.dtype, [&]<class T>() {
    if (args.plan.vector)
      EPITAXY_WORLD::run<T, EPITAXY_WORLD::kVectorWidth<T>>(args, stream);
    else
      EPITAXY_WORLD::run<T, 1>(args, stream);
  });
}
}  // namespace epitaxy
