// First layers, of one to four channels: the windows of consecutive output pixels are cut from a patch of the image in shared memory, so
// that each element comes from global memory once for every filter row, its bounds checked and its period wrapped once.
#pragma once

#include "kernels/conv2d_first.h"
#include "kernels/device/conv_epilogue.cuh"
#include "kernels/device/conv_loaders.cuh"

namespace epitaxy::EPITAXY_WORLD {

struct FirstParams {
  ConvGeometry g;
  const void *x, *filter, *dy;
  const float* bias;     // null: none
  const void* residual;  // null: none
  void* result;          // the workspace, where the filter gradient is split
  float* statistics;     // null: none
  int pixels, tiles;     // of output pixels
  int part_tiles;        // filter gradient: tiles of one split
  int length, chunks;    // of the reduction (row, column, channel)
  int patch_columns;
  bool relu;
};

/// The patch of output pixels [first, end): line r holds, output row after output row, the columns that filter row r reads there.
class FirstPatch {
 public:
  __device__ FirstPatch(const FirstParams& params, int first, int end) : p(params), first_(first), end_(end) {
    const ConvGeometry& g = p.g;
    line_ = first / g.out_width;
    q_ = first % g.out_width;
    const int extent = (g.columns - 1) * g.dilation_x + 1, last = end - 1, lines = last / g.out_width - line_ + 1;
    full_ = (g.out_width - 1) * g.stride_x + extent;
    const int last_q = last % g.out_width;
    head_ = ((lines == 1 ? last_q : g.out_width - 1) - q_) * g.stride_x + extent;
    columns_ = lines == 1 ? head_ : head_ + (lines - 2) * full_ + last_q * g.stride_x + extent;
  }

  template <int kThreads, class T>
  __device__ __forceinline__ void load(T* patch) const {
    const ConvGeometry& g = p.g;
    const T* image = static_cast<const T*>(p.x);
    for (int column = static_cast<int>(threadIdx.x); column < columns_; column += kThreads) {
      const bool head = column < head_;
      const int line = head ? line_ : line_ + 1 + (column - head_) / full_;
      int x = (head ? q_ * g.stride_x + column : (column - head_) % full_) - g.left;
      if (g.wrap_x) x = wrapped(x, g.width);
      const bool inside = static_cast<unsigned>(x) < static_cast<unsigned>(g.width);
      const int item = line / g.out_height * g.height, y0 = line % g.out_height * g.stride_y - g.top;
      for (int r = 0; r < g.rows; r += kLoads)
        for (int c = 0; c < g.channels; ++c) {
          T values[kLoads];
#pragma unroll
          for (int i = 0; i < kLoads; ++i) {
            int y = y0 + (r + i) * g.dilation_y;
            if (g.wrap_y) y = wrapped(y, g.height);
            const bool valid = inside && r + i < g.rows && static_cast<unsigned>(y) < static_cast<unsigned>(g.height);
            values[i] = valid ? image[(static_cast<std::int64_t>(item + y) * g.width + x) * g.channels + c] : T{};
          }
#pragma unroll
          for (int i = 0; i < kLoads; ++i)
            if (r + i < g.rows) patch[((r + i) * p.patch_columns + column) * g.channels + c] = values[i];
        }
    }
  }

  /// Where the window of the i-th pixel begins.
  __device__ __forceinline__ int window(int i) const {
    const ConvGeometry& g = p.g;
    const int beyond = q_ + i - g.out_width;
    if (beyond < 0) return i * g.stride_x * g.channels;
    return (head_ + beyond / g.out_width * full_ + beyond % g.out_width * g.stride_x) * g.channels;
  }
  __device__ __forceinline__ bool holds(int i) const { return first_ + i < end_; }

 private:
  static constexpr int kLoads = 4;  // in flight
  const FirstParams& p;
  int first_, end_;
  int line_, q_;     // output row (over all images) and column of the first pixel
  int head_, full_;  // columns of the first output row's part, and of a whole output row
  int columns_;      // of the patch
};

/// Offsets in the patch of the elements of a window, in the order of the filter's; -1 for padding. `count`: entries of the table.
template <int kThreads>
__device__ __forceinline__ void fill_offsets(int* offsets, const FirstParams& p, int count, int first) {
  const ConvGeometry& g = p.g;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const int at = first + i, c = at % g.channels, tap = at / g.channels;
    offsets[i] = at < p.length ? (tap / g.columns * p.patch_columns + tap % g.columns * g.dilation_x) * g.channels + c : -1;
  }
}

/// tile [kPixels][kLength] (pitch kPitch) = the windows' elements: zeros beyond the last pixel and the last element.
template <int kThreads, int kPixels, int kLength, int kPitch, class T>
__device__ __forceinline__ void cut_windows(T* tile, const T* patch, const int* offsets, const FirstPatch& where) {
  constexpr int kVec = static_cast<int>(16 / sizeof(T)), kTogether = kThreads / kPixels;
  static_assert(kThreads % kPixels == 0 && kLength % kVec == 0);
  const int pixel = static_cast<int>(threadIdx.x) % kPixels;
  const bool live = where.holds(pixel);
  const int window = live ? where.window(pixel) : 0;
#pragma unroll 1  // eight loads are in flight as it is
  for (int at = static_cast<int>(threadIdx.x) / kPixels * kVec; at < kLength; at += kTogether * kVec) {
    Vector<T, kVec> vector;
#pragma unroll
    for (int four = 0; four < kVec; four += 4) {
      const auto offset = load_vector<int, 4>(offsets + at + four);
#pragma unroll
      for (int e = 0; e < 4; ++e) vector[four + e] = live && offset[e] >= 0 ? patch[window + offset[e]] : T{};
    }
    store_vector(tile + pixel * kPitch + at, vector);
  }
}

template <class T_, bool kTensor_, int kDepth_>
struct FirstForward {
  using T = T_;
  static constexpr int kPixels = static_cast<int>(kConv2dFirstPixels), kColumns = 64, kDepth = kDepth_;
  static constexpr bool kTensor = kTensor_;
  using A = FactorTile<T, kPixels, kDepth, true>;
  using B = FactorTile<T, kColumns, kDepth, true>;
  using Math = std::conditional_t<kTensor, TensorMath<T, A, B, 32, 32>, ScalarMath<T, A, B>>;
  static constexpr int kThreads = Math::kThreads, kBlocks = kTensor ? 2 : 1;
};

/// y = epilogue(windows x filter'): a block keeps 64 filters and walks over tiles of pixels.
template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocks) conv2d_first_forward_kernel(const __grid_constant__ FirstParams p) {
  using T = typename Config::T;
  constexpr int kThreads = Config::kThreads, kPixels = Config::kPixels, kDepth = Config::kDepth, kPitch = Config::A::kPitch;
  EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
  T* tile = reinterpret_cast<T*>(memory);
  T* filters = tile + Config::A::kElements;
  T* patch = filters + p.chunks * Config::B::kElements;
  const int patch_bytes = static_cast<int>((p.g.rows * p.patch_columns * p.g.channels * sizeof(T) + 15) / 16 * 16);
  int* offsets = reinterpret_cast<int*>(reinterpret_cast<unsigned char*>(patch) + patch_bytes);
  const int first_column = static_cast<int>(blockIdx.y) * Config::kColumns, columns = p.g.outputs - first_column;

  fill_offsets<kThreads>(offsets, p, p.chunks * kDepth, 0);
  const T* filter = static_cast<const T*>(p.filter) + static_cast<std::int64_t>(first_column) * p.length;
  for (int i = static_cast<int>(threadIdx.x); i < p.chunks * Config::kColumns * kDepth; i += kThreads) {
    const int at = i % kDepth, line = i / kDepth, k = line % Config::kColumns, element = line / Config::kColumns * kDepth + at;
    filters[line * kPitch + at] = k < columns && element < p.length ? filter[k * p.length + element] : T{};
  }
  for (int t = static_cast<int>(blockIdx.x); t < p.tiles; t += static_cast<int>(gridDim.x)) {
    const int first = t * kPixels, rows = p.pixels - first < kPixels ? p.pixels - first : kPixels;
    const FirstPatch where(p, first, first + rows);
    typename Config::Math math;
    where.template load<kThreads>(patch);
    __syncthreads();  // the patch is there; the last tile and its statistics have been read
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      if (chunk > 0) __syncthreads();
      cut_windows<kThreads, kPixels, kDepth, kPitch>(tile, patch, offsets + chunk * kDepth, where);
      __syncthreads();
      math.add(tile, filters + chunk * Config::B::kElements);
    }
    const std::int64_t corner = static_cast<std::int64_t>(first) * p.g.outputs + first_column;
    const ConvEpilogue<T> epilogue{p.bias ? p.bias + first_column : nullptr,
                                   p.residual ? static_cast<const T*>(p.residual) + corner : nullptr,
                                   p.g.outputs,
                                   rows,
                                   columns,
                                   p.relu};
    epilogue.apply(math);
    if constexpr (Config::kTensor)
      if (p.statistics) {
        __syncthreads();  // the tile has been read
        float* out = p.statistics + 2 * static_cast<std::int64_t>(t) * p.g.outputs + first_column;
        write_statistics<Config::kColumns>(math, reinterpret_cast<float*>(tile), rows, columns, out, p.g.outputs);
      }
    write_tile(math, ConvTarget<T>{static_cast<T*>(p.result) + corner, p.g.outputs, columns},
               [&](int row) { return row < rows ? row : -1; });
  }
}

template <class T_, bool kTensor_, int kColumns_>
struct FirstGradient {
  using T = T_;
  static constexpr int kPixels = static_cast<int>(kConv2dFirstGradientPixels), kRows = 64, kColumns = kColumns_;
  static constexpr bool kTensor = kTensor_;
  using A = FactorTile<T, kRows, kPixels, false>;
  using B = FactorTile<T, kColumns, kPixels, false>;
  static constexpr int kWarpRows = kColumns == 16 ? 16 : 32, kWarpColumns = kColumns == 64 ? 32 : 16;
  using Math = std::conditional_t<kTensor, TensorMath<T, A, B, kWarpRows, kWarpColumns>, ScalarMath<T, A, B>>;
  static constexpr int kThreads = Math::kThreads, kBlocks = kTensor ? 4 : 2;
};

/// dw[k, (row, column, channel)] = sum over the split's pixels of dy[pixel, k] * window[pixel, ...]. grid: column tiles, row tiles, splits.
template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocks) conv2d_first_gradient_kernel(const __grid_constant__ FirstParams p) {
  using T = typename Config::T;
  using A = typename Config::A;
  using B = typename Config::B;
  constexpr int kThreads = Config::kThreads, kPixels = Config::kPixels;
  EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
  T* dy_tiles = reinterpret_cast<T*>(memory);
  T* tile = dy_tiles + 2 * A::kElements;
  T* patch = tile + B::kElements;
  const int patch_bytes = static_cast<int>((p.g.rows * p.patch_columns * p.g.channels * sizeof(T) + 15) / 16 * 16);
  int* offsets = reinterpret_cast<int*>(reinterpret_cast<unsigned char*>(patch) + patch_bytes);
  const int first_column = static_cast<int>(blockIdx.y) * Config::kColumns, first_row = static_cast<int>(blockIdx.z) * Config::kRows;
  const int first_tile = static_cast<int>(blockIdx.x) * p.part_tiles;
  const int end_tile = p.tiles - first_tile < p.part_tiles ? p.tiles : first_tile + p.part_tiles;
  fill_offsets<kThreads>(offsets, p, Config::kColumns, first_column);

  using Copy = CopyShape<T, kThreads, kPixels, Config::kRows, A::kPitch, static_cast<int>(16 / sizeof(T))>;
  MatrixLoader<Copy, true> dy(static_cast<const T*>(p.dy), p.g.outputs, first_tile * kPixels, p.pixels, first_row, p.g.outputs);
  typename Config::Math math;
  if (first_tile < end_tile) dy.load(dy_tiles);
  cp_async_commit();
  for (int t = first_tile; t < end_tile; ++t) {
    const int first = t * kPixels, rows = p.pixels - first < kPixels ? p.pixels - first : kPixels, now = (t - first_tile) % 2;
    const FirstPatch where(p, first, first + rows);
    where.template load<kThreads>(patch);
    __syncthreads();  // the patch is there; the last tiles have been multiplied
    if (t + 1 < end_tile) dy.load(dy_tiles + (1 - now) * A::kElements);
    cp_async_commit();
    cut_windows<kThreads, kPixels, Config::kColumns, B::kPitch>(tile, patch, offsets, where);
    cp_async_wait<1>();
    __syncthreads();
    math.add(dy_tiles + now * A::kElements, tile);
  }
  cp_async_wait<0>();
  const int rows = p.g.outputs - first_row;
  float* result =
      static_cast<float*>(p.result) + (static_cast<std::int64_t>(blockIdx.x) * p.g.outputs + first_row) * p.length + first_column;
  write_tile(math, ConvTarget<float>{result, p.length, p.length - first_column}, [&](int row) { return row < rows ? row : -1; });
}

inline FirstParams first_params(const Conv2dArgs& args, std::int64_t pixels, std::int64_t depth) {
  const Conv2dProblem& d = args.problem;
  FirstParams p{};
  p.g = geometry_of(d);
  p.x = args.x, p.filter = args.filter, p.dy = args.dy, p.result = args.result;
  p.pixels = i32(d.output_pixels()), p.tiles = i32(divide_up(d.output_pixels(), pixels));
  p.length = i32(conv2d_first_length(d)), p.chunks = i32(divide_up(p.length, depth));
  p.patch_columns = i32(conv2d_first_patch_columns(d, pixels));
  return p;
}

template <class Config>
void launch_first_forward(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  FirstParams p = first_params(args, Config::kPixels, Config::kDepth);
  p.bias = d.bias ? args.bias : nullptr;
  p.residual = d.residual ? args.residual : nullptr;
  p.statistics = d.statistics ? args.statistics : nullptr;
  p.relu = d.activation == Activation::relu;
  const unsigned columns = static_cast<unsigned>(divide_up(d.k, Config::kColumns));
  const unsigned most = static_cast<unsigned>(stream.profile->multiprocessors * Config::kBlocks);
  const unsigned walkers = std::max(1u, std::min(static_cast<unsigned>(p.tiles), most / columns));
  launch(stream, "conv2d_first_forward", conv2d_first_forward_kernel<Config>, dim3(walkers, columns), dim3(Config::kThreads),
         conv2d_first_shared_bytes(d, args.pass), p);
}

template <class Config>
void launch_first_gradient(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  FirstParams p = first_params(args, Config::kPixels, Config::kColumns);
  const int splits = args.plan.splits;
  if (splits > 1) p.result = args.workspace;
  p.part_tiles = i32(divide_up(p.tiles, splits));
  const dim3 grid(static_cast<unsigned>(splits), static_cast<unsigned>(p.chunks), static_cast<unsigned>(divide_up(d.k, Config::kRows)));
  launch(stream, "conv2d_first_gradient", conv2d_first_gradient_kernel<Config>, grid, dim3(Config::kThreads),
         conv2d_first_shared_bytes(d, args.pass), p);
}

}  // namespace epitaxy::EPITAXY_WORLD
