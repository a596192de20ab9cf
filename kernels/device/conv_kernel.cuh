// The convolution kernel: an implicit matrix product whose tiles stream through shared memory by cp.async, in several stages.
//   forward          y[pixel, k]    = sum over (r, s, c) of x[window] * filter[k, r, s, c]
//   input gradient   dx[pixel, c]   = sum over (r, s, k) of dy[window] * filter[k, r, s, c], once for each residue of the pixel by the
//                                     stride, with the taps that reach this residue alone; periods of the padding are further taps
//   filter gradient  dw[k, (r,s,c)] = sum over pixels of dy[pixel, k] * x[window]; parts of the sum go to the workspace
#pragma once

#include <algorithm>

#include "epitaxy/error.h"
#include "kernels/device/conv_epilogue.cuh"
#include "kernels/device/conv_loaders.cuh"

namespace epitaxy::EPITAXY_WORLD {

struct ConvParams {
  ConvGeometry g;
  const void *x, *x2;
  const void* filter;
  const void* dy;
  const float* bias;                   // null: none
  const void* residual;                // null: none
  void* result;                        // the workspace, where the filter gradient is split
  void* result2;                       // of the second image
  float* statistics;                   // null: none, or not by this kernel
  ConvGradient gradient;               // input gradient
  int row_tiles, column_tiles, parts;  // parts: residues by the stride, or splits
  int pixels, columns;                 // the product's rows (reduction length in the filter gradient) and columns
  int part_pixels;                     // filter gradient: reduction length of one split
  int phase_height, phase_width;       // input gradient: pixels of one residue
  int most_taps_y, most_taps_x;
  bool relu;
};

template <class T_, Conv2dPass kPass_, bool kTensor_, int kVec_, int kRows_, int kColumns_>
struct ConvConfig {
  using T = T_;
  static constexpr Conv2dPass kPass = kPass_;
  static constexpr bool kTensor = kTensor_, kFilterGradient = kPass == Conv2dPass::filter_gradient;
  static constexpr int kVec = kVec_, kRows = kRows_, kColumns = kColumns_, kDepth = 64 / sizeof(T);
  static constexpr int kStages = 3;  // two blocks of 128 x 64, or one of 128 x 128, in the 99 KB of sm_86, 89 and 120
  using A = FactorTile<T, kRows, kDepth, !kFilterGradient>;
  using B = FactorTile<T, kColumns, kDepth, kPass == Conv2dPass::forward>;
  using Math = std::conditional_t<kTensor, TensorMath<T, A, B, kRows == 128 ? 64 : 32, 32>, ScalarMath<T, A, B>>;
  static constexpr int kThreads = Math::kThreads;
  static constexpr bool kStatistics = kTensor && kRows == kConv2dStatisticsPixels;
  static constexpr int kBlocks = kThreads == 256 ? 2 : kRows == 128 || kVec == 1 ? 3 : 4;  // a multiprocessor; bounds the registers
  template <class Tile>
  using Copy =
      CopyShape<T, kThreads, Tile::kAlong ? Tile::kOuter : Tile::kDepth, Tile::kAlong ? Tile::kDepth : Tile::kOuter, Tile::kPitch, kVec>;
  static constexpr std::size_t kPipelineBytes = sizeof(T) * kStages * (A::kElements + B::kElements);
};

/// Runs the pipeline over `steps` steps of the reduction.
template <class Config, class LoaderA, class LoaderB>
__device__ __forceinline__ void multiply(typename Config::Math& math, typename Config::T* tiles, LoaderA& a, LoaderB& b, int steps) {
  constexpr int kStages = Config::kStages, kStageElements = Config::A::kElements + Config::B::kElements;
  const auto load = [&](int stage) {
    a.load(tiles + stage * kStageElements);
    b.load(tiles + stage * kStageElements + Config::A::kElements);
  };
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) load(stage);
    cp_async_commit();
  }
  int reading = 0, writing = kStages - 1;
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // this step's tiles have arrived; the stage to be overwritten has been read
    if (step + kStages - 1 < steps) load(writing);
    cp_async_commit();
    math.add(tiles + reading * kStageElements, tiles + reading * kStageElements + Config::A::kElements);
    if (++reading == kStages) reading = 0;
    if (++writing == kStages) writing = 0;
  }
  cp_async_wait<0>();
}

/// The shared tables of the passes whose rows are pixels.
struct ConvTables {
  ConvRow* rows;
  int* out;  // the row's pixel in the result, -1 for none
  ConvTap *taps_y, *taps_x;
  int* counts;  // of vertical and horizontal taps
};

/// The taps of one axis that reach pixels with this residue by the stride: what pixel h = residue + stride * i receives from
/// output i + offset. `wraps`: periods before and after the image that the padding covers.
__device__ inline int collect_taps(ConvTap* taps, int filter, int dilation, int stride, int before, int size, int wraps_before,
                                   int wraps_after, int residue) {
  int count = 0;
  for (int wrap = -wraps_before; wrap <= wraps_after; ++wrap)
    for (int r = 0; r < filter; ++r) {
      const int at = residue + wrap * size + before - r * dilation;
      if (at % stride == 0) taps[count++] = {at / stride, r};
    }
  return count;
}

template <Conv2dPass kPass, int kRows, int kThreads>
__device__ __forceinline__ void fill_tables(const ConvParams& p, const ConvTables& t, int first_row, int residue_y, int residue_x) {
  const ConvGeometry& g = p.g;
  constexpr bool kForward = kPass == Conv2dPass::forward;
  const int thread = static_cast<int>(threadIdx.x);
  const int width = kForward ? g.out_width : p.phase_width, height = kForward ? g.out_height : p.phase_height;
  for (int i = thread; i < kRows; i += kThreads) {
    const int row = first_row + i, x = row % width, y = row / width % height;
    const int item = row / width / height;
    if constexpr (kForward) {
      const bool inside = row < p.pixels;
      t.rows[i] = {inside ? item * g.height * g.width : -1, y * g.stride_y, x * g.stride_x};
      t.out[i] = inside ? row : -1;
    } else {
      const int at_y = residue_y + y * g.stride_y, at_x = residue_x + x * g.stride_x;
      const bool inside = row < p.pixels && at_y < g.height && at_x < g.width;
      t.rows[i] = {inside ? item * g.out_height * g.out_width : -1, y, x};
      t.out[i] = inside ? (item * g.height + at_y) * g.width + at_x : -1;
    }
  }
  if constexpr (kForward) {
    for (int r = thread; r < g.rows; r += kThreads) t.taps_y[r] = {r * g.dilation_y - g.top, r};
    for (int s = thread; s < g.columns; s += kThreads) t.taps_x[s] = {s * g.dilation_x - g.left, s};
    if (thread == 0) t.counts[0] = g.rows, t.counts[1] = g.columns;
  } else {
    if (thread == 0)
      t.counts[0] = collect_taps(t.taps_y, g.rows, g.dilation_y, g.stride_y, g.top, g.height, g.wraps_above, g.wraps_below, residue_y);
    if (thread == 32)
      t.counts[1] = collect_taps(t.taps_x, g.columns, g.dilation_x, g.stride_x, g.left, g.width, g.wraps_left, g.wraps_right, residue_x);
  }
  __syncthreads();
}

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocks) conv2d_kernel(const __grid_constant__ ConvParams p) {
  using T = typename Config::T;
  using CopyA = typename Config::template Copy<typename Config::A>;
  using CopyB = typename Config::template Copy<typename Config::B>;
  EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
  T* tiles = reinterpret_cast<T*>(memory);
  const ConvGeometry& g = p.g;
  const auto block = static_cast<unsigned>(blockIdx.x);
  const int first_column = static_cast<int>(block % p.column_tiles) * Config::kColumns;
  const int first_row = static_cast<int>(block / p.column_tiles % p.row_tiles) * Config::kRows;
  const auto rest = static_cast<int>(block / p.column_tiles / p.row_tiles);
  const int part = rest % p.parts, group = rest / p.parts;
  const int first_input = group * g.group_inputs, first_output = group * g.group_outputs;
  typename Config::Math math;

  if constexpr (Config::kFilterGradient) {
    const int first_pixel = part * p.part_pixels;
    const int end_pixel = p.pixels - first_pixel < p.part_pixels ? p.pixels : first_pixel + p.part_pixels;
    MatrixLoader<CopyA, true> a(static_cast<const T*>(p.dy) + first_output, g.outputs, first_pixel, end_pixel, first_row, g.group_outputs);
    PixelLoader<CopyB> b(static_cast<const T*>(p.x) + first_input, static_cast<const T*>(p.x2), g, first_pixel, end_pixel, first_column);
    multiply<Config>(math, tiles, a, b, (end_pixel - first_pixel + Config::kDepth - 1) / Config::kDepth);
    float* result =
        static_cast<float*>(p.result) + (static_cast<std::int64_t>(part) * g.outputs + first_output + first_row) * p.columns + first_column;
    const int rows = g.group_outputs - first_row;
    write_tile(math, ConvTarget<float>{result, p.columns, p.columns - first_column}, [&](int row) { return row < rows ? row : -1; });
  } else {
    ConvTables tables;
    tables.rows = reinterpret_cast<ConvRow*>(memory + Config::kPipelineBytes);
    tables.out = reinterpret_cast<int*>(tables.rows + Config::kRows);
    tables.taps_y = reinterpret_cast<ConvTap*>(tables.out + Config::kRows);
    tables.taps_x = tables.taps_y + p.most_taps_y;
    tables.counts = reinterpret_cast<int*>(tables.taps_x + p.most_taps_x);
    fill_tables<Config::kPass, Config::kRows, Config::kThreads>(p, tables, first_row, part / g.stride_x, part % g.stride_x);
    const int count_y = tables.counts[0], count_x = tables.counts[1];
    const auto line_of = [&](int row) { return tables.out[row]; };
    if constexpr (Config::kPass == Conv2dPass::forward) {
      WindowLoader<CopyA, true> a(g, static_cast<const T*>(p.x) + first_input, static_cast<const T*>(p.x2), tables.rows, tables.taps_y,
                                  tables.taps_x, count_y, count_x);
      const int length = g.rows * g.columns * g.group_inputs;
      MatrixLoader<CopyB, false> b(static_cast<const T*>(p.filter) + static_cast<std::int64_t>(first_output) * length, length, first_column,
                                   g.group_outputs, 0, length);
      multiply<Config>(math, tiles, a, b, (length + Config::kDepth - 1) / Config::kDepth);
      const int columns = g.group_outputs - first_column,
                rows = p.pixels - first_row < Config::kRows ? p.pixels - first_row : Config::kRows;
      const int output = first_output + first_column;
      const std::int64_t corner = static_cast<std::int64_t>(first_row) * g.outputs + output;
      const ConvEpilogue<T> epilogue{p.bias ? p.bias + output : nullptr,
                                     p.residual ? static_cast<const T*>(p.residual) + corner : nullptr,
                                     g.outputs,
                                     rows,
                                     columns,
                                     p.relu};
      epilogue.apply(math);
      if constexpr (Config::kStatistics)
        if (p.statistics) {
          __syncthreads();  // the last tiles have been read
          float* out = p.statistics + 2 * static_cast<std::int64_t>(first_row / Config::kRows) * g.outputs + output;
          write_statistics<Config::kColumns>(math, reinterpret_cast<float*>(memory), rows, columns, out, g.outputs);
        }
      write_tile(math, ConvTarget<T>{static_cast<T*>(p.result) + output, g.outputs, columns}, line_of);
    } else {
      WindowLoader<CopyA, false> a(g, static_cast<const T*>(p.dy) + first_output, nullptr, tables.rows, tables.taps_y, tables.taps_x,
                                   count_y, count_x);
      const std::int64_t filter = static_cast<std::int64_t>(first_output) * g.rows * g.columns * g.group_inputs;
      FilterLoader<CopyB> b(g, static_cast<const T*>(p.filter) + filter, tables.taps_y, tables.taps_x, count_y, count_x, first_column);
      multiply<Config>(math, tiles, a, b, (count_y * count_x * g.group_outputs + Config::kDepth - 1) / Config::kDepth);
      ConvTarget<T> target{static_cast<T*>(p.result) + first_input + first_column, g.first, g.group_inputs - first_column};
      if (p.gradient.channels)
        finish_tile<T, Config::kColumns, Config::kStatistics, (Config::kVec > 1)>(p.gradient, math, reinterpret_cast<float*>(memory),
                                                                                  first_row / Config::kRows, first_input + first_column,
                                                                                  target.columns, line_of);
      if (p.result2) target.split = g.first - first_column, target.second = static_cast<T*>(p.result2), target.second_pitch = g.second;
      write_tile(math, target, line_of);
    }
  }
}

/// Fills the parameters and launches; sizes beyond 32 bits were refused by choose().
template <class Config>
void launch_conv2d(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  ConvParams p{};
  p.g = geometry_of(d);
  p.x = args.x, p.x2 = args.x2, p.filter = args.filter, p.dy = args.dy, p.result = args.result, p.result2 = args.result2;
  p.parts = 1;
  std::int64_t rows = d.output_pixels(), columns = d.group_outputs();
  p.most_taps_y = i32(d.r), p.most_taps_x = i32(d.s);
  std::size_t shared = Config::kPipelineBytes;
  if constexpr (Config::kPass == Conv2dPass::forward) {
    p.bias = d.bias ? args.bias : nullptr;
    p.residual = d.residual ? args.residual : nullptr;
    p.statistics = d.statistics ? args.statistics : nullptr;
    p.relu = d.activation == Activation::relu;
  } else if constexpr (Config::kPass == Conv2dPass::input_gradient) {
    p.gradient = conv_gradient(args);
    p.phase_height = i32(divide_up(d.h, d.stride[0])), p.phase_width = i32(divide_up(d.w, d.stride[1]));
    p.parts = i32(d.stride[0] * d.stride[1]);
    rows = d.n * p.phase_height * p.phase_width, columns = d.group_inputs();
    p.most_taps_y *= 1 + p.g.wraps_above + p.g.wraps_below, p.most_taps_x *= 1 + p.g.wraps_left + p.g.wraps_right;
  } else {
    rows = d.group_outputs(), columns = d.r * d.s * d.group_inputs();
    p.parts = args.plan.splits;
    p.part_pixels = i32(divide_up(divide_up(d.output_pixels(), p.parts), Config::kDepth) * Config::kDepth);
    if (p.parts > 1) p.result = args.workspace;
  }
  if constexpr (!Config::kFilterGradient)
    shared +=
        Config::kRows * (sizeof(ConvRow) + sizeof(int)) + sizeof(ConvTap) * static_cast<std::size_t>(p.most_taps_y + p.most_taps_x + 1);
  p.pixels = i32(Config::kFilterGradient ? d.output_pixels() : rows), p.columns = i32(columns);
  p.row_tiles = i32(divide_up(rows, Config::kRows)), p.column_tiles = i32(divide_up(columns, Config::kColumns));
  const std::int64_t blocks = static_cast<std::int64_t>(p.row_tiles) * p.column_tiles * p.parts * d.groups;
  launch(stream, "conv2d", conv2d_kernel<Config>, dim3(static_cast<unsigned>(blocks)), dim3(Config::kThreads), shared, p);
}

/// The tile of the plan. One-element loads come with the smallest tile only.
template <class T, Conv2dPass kPass, bool kTensor>
void launch_conv2d_tile(const Conv2dArgs& args, Stream stream) {
  constexpr int kVec = static_cast<int>(16 / sizeof(T));
  if (!args.plan.vector) return launch_conv2d<ConvConfig<T, kPass, kTensor, 1, 64, 64>>(args, stream);
  if constexpr (kTensor || sizeof(T) == 4) {
    switch (args.plan.tile) {
      case Conv2dTile::m64n64: return launch_conv2d<ConvConfig<T, kPass, kTensor, kVec, 64, 64>>(args, stream);
      case Conv2dTile::m128n64: return launch_conv2d<ConvConfig<T, kPass, kTensor, kVec, 128, 64>>(args, stream);
      case Conv2dTile::m128n128:
        if constexpr (kTensor) return launch_conv2d<ConvConfig<T, kPass, kTensor, kVec, 128, 128>>(args, stream);
        break;
      default: break;
    }
  }
  fail("conv2d: no kernel for this plan");
}

}  // namespace epitaxy::EPITAXY_WORLD
