// The filter gradient on wgmma, transposed so that any K fills the columns: rows of the product are (tap, c), columns k, and the reduction
// runs over pixels: A = windows of x (im2col), across; B = dy [pixels][k], across. A block sums one tile over one part of the pixels; parts
// go to the workspace and are added in order.
#pragma once

#include "kernels/device/conv_wgmma_pixels.cuh"

namespace epitaxy::EPITAXY_WORLD {

struct WgmmaFilterParams {
  DeviceTensorMap sources[2];  // x, x2
  DeviceTensorMap dy;
  Conv2dAxis y, x;
  float* result;  // dw, or the workspace
  int items, row_tiles, column_tiles;
  int pixels, part_pixels;                // part_pixels: a multiple of 64
  int chunks, first_chunks;               // of 64 channels, of both sources and of x
  int taps, filter_columns;               // R * S, S
  int channels, first_channels, outputs;  // C, of x, K
};

struct WgmmaFilterItem {
  int part, chunk, column;  // chunk: the first of the tile, counted (tap, chunk of channels)
};

template <class Config>
__device__ __forceinline__ WgmmaFilterItem filter_item(const WgmmaFilterParams& p, int index) {
  const int tile = index / p.column_tiles;
  return {tile / p.row_tiles, tile % p.row_tiles * (Config::kRows / 64), index % p.column_tiles * Config::kColumns};
}

/// Steps of 64 pixels of a part; one that only reads zeros where the part is empty.
__device__ __forceinline__ int filter_steps(const WgmmaFilterParams& p, int part) {
  const int left = p.pixels - part * p.part_pixels, own = left < p.part_pixels ? left : p.part_pixels;
  return own > 0 ? (own + 63) / 64 : 1;
}

template <class Config>
__device__ __forceinline__ void produce_filter(const WgmmaFilterParams& p, const WgmmaMemory<Config>& memory) {
  constexpr int kWindows = Config::kRows / 64;
  Stage<Config::kStages> stage;
  for (int index = static_cast<int>(blockIdx.x); index < p.items; index += static_cast<int>(gridDim.x)) {
    const WgmmaFilterItem item = filter_item<Config>(p, index);
    int tap_y[kWindows], tap_x[kWindows], chunk[kWindows];
#pragma unroll
    for (int i = 0; i < kWindows; ++i) {
      const int at = item.chunk + i, tap = at / p.chunks;
      const bool inside = tap < p.taps;  // past the last: channels past the last, which read zeros
      chunk[i] = inside ? at % p.chunks : p.chunks;
      tap_y[i] = inside ? tap / p.filter_columns : 0, tap_x[i] = inside ? tap % p.filter_columns : 0;
    }
    const int steps = filter_steps(p, item.part);
    for (int step = 0; step < steps; ++step) {
      const int pixel = item.part * p.part_pixels + step * 64;
      const int q = pixel % p.x.pixels, rest = pixel / p.x.pixels;
      const int from_x = p.x.lower + q * p.x.stride, from_y = p.y.lower + rest % p.y.pixels * p.y.stride, image = rest / p.y.pixels;
      fill_stage<Config>(memory, stage, [&](unsigned char* a, unsigned char* b, Mbarrier* full) {
#pragma unroll
        for (int i = 0; i < kWindows; ++i) {
          const int second = chunk[i] >= p.first_chunks && chunk[i] < p.chunks;
          tma_load_im2col_4d(a + i * kBlock64Bytes, p.sources[second], full, (chunk[i] - (second ? p.first_chunks : 0)) * 64, from_x,
                             from_y, image, static_cast<unsigned>(tap_x[i] * p.x.offset_step),
                             static_cast<unsigned>(tap_y[i] * p.y.offset_step));
        }
#pragma unroll
        for (int i = 0; i < Config::kColumns / 64; ++i) tma_load_2d(b + i * kBlock64Bytes, p.dy, full, item.column + 64 * i, pixel);
      });
    }
  }
}

/// Eight lanes hold eight neighbouring channels of one k: whole sectors without staging.
template <class Config>
__device__ __forceinline__ void store_filter(const WgmmaFilterParams& p, const WgmmaSums<Config>& sums, const WgmmaFilterItem& item) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t line = static_cast<std::int64_t>(p.taps) * p.channels;
  float* part = p.result + static_cast<std::int64_t>(item.part) * p.outputs * line;
#pragma unroll
  for (int block = 0; block < Config::kRowBlocks; ++block) {
    const int at = item.chunk + warp / 4 * Config::kRowBlocks + block, tap = at / p.chunks, chunk = at % p.chunks;
    if (tap < p.taps) {
      const bool second = chunk >= p.first_chunks;
      const int channel = (second ? chunk - p.first_chunks : chunk) * 64 + warp % 4 * 16 + lane / 4;
      const int left = (second ? p.channels - p.first_channels : p.first_channels) - channel;
      const int column = item.column + lane % 4 * 2;
      float* to = part + static_cast<std::int64_t>(column) * line + static_cast<std::int64_t>(tap) * p.channels +
                  (second ? p.first_channels : 0) + channel;
#pragma unroll
      for (int j = 0; j < Config::kColumns / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if (column + 8 * j + e < p.outputs) {
            float* here = to + (8 * j + e) * line;
            if (left > 0) here[0] = sums[block][4 * j + e];
            if (left > 8) here[8] = sums[block][4 * j + 2 + e];
          }
    }
  }
}

template <class Config>
__device__ __forceinline__ void consume_filter(const WgmmaFilterParams& p, const WgmmaMemory<Config>& memory) {
  const int group = consumer_group();
  Stage<Config::kStages> stage;
  for (int index = static_cast<int>(blockIdx.x); index < p.items; index += static_cast<int>(gridDim.x)) {
    const WgmmaFilterItem item = filter_item<Config>(p, index);
    WgmmaSums<Config> sums;
    multiply_tile<Config>(sums, memory, stage, group, filter_steps(p, item.part));
    store_filter<Config>(p, sums, item);
  }
}

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocks)
    conv2d_wgmma_filter_kernel(const __grid_constant__ WgmmaFilterParams p) {
  if constexpr (kHopper) {
    EPITAXY_DYNAMIC_SHARED(unsigned char, dynamic);
    const WgmmaMemory<Config> memory(dynamic);
    memory.initialise();
    share_block<Config::kMovesRegisters>([&] { consume_filter<Config>(p, memory); }, [&] { produce_filter<Config>(p, memory); });
  } else {
    __trap();
  }
}

template <class Config>
void launch_wgmma_filter(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  WgmmaFilterParams p{};
  p.y = conv2d_forward_axis(d, 0), p.x = conv2d_forward_axis(d, 1);
  for (int i = 0; i < (d.second > 0 ? 2 : 1); ++i)
    p.sources[i] = wgmma_map(wgmma_source(d, i == 0 ? args.x : args.x2, true, i == 0 ? d.first() : d.second, p.y, p.x, 64, 64));
  const std::int64_t pixels = d.output_pixels();
  p.dy = wgmma_map(tiled_tensor_map(d.dtype, args.dy, {d.k, pixels}, {d.k}, {64, 64}, TensorMap::Swizzle::swizzle128));
  const int splits = args.plan.splits;
  p.result = splits > 1 ? args.workspace : static_cast<float*>(args.result);
  p.pixels = static_cast<int>(pixels), p.part_pixels = wgmma_tiles(pixels, 64 * splits) * 64;
  p.first_chunks = wgmma_tiles(d.first(), 64), p.chunks = p.first_chunks + wgmma_tiles(d.second, 64);
  p.taps = static_cast<int>(d.r * d.s), p.filter_columns = static_cast<int>(d.s);
  p.channels = static_cast<int>(d.c), p.first_channels = static_cast<int>(d.first()), p.outputs = static_cast<int>(d.k);
  p.row_tiles = wgmma_tiles(static_cast<std::int64_t>(p.taps) * p.chunks, Config::kRows / 64);
  p.column_tiles = wgmma_tiles(d.k, Config::kColumns);
  p.items = p.row_tiles * p.column_tiles * splits;
  launch(stream, "conv2d_wgmma_filter_gradient", conv2d_wgmma_filter_kernel<Config>, wgmma_grid<Config>(p.items, stream),
         dim3(Config::kThreads), Config::kSharedBytes, p);
}

/// The tile of the plan.
template <class T>
void launch_wgmma_filter_tile(const Conv2dArgs& args, Stream stream) {
  with_wgmma_tile(args.plan.tile,
                  [&]<int kRows, int kColumns>() { launch_wgmma_filter<WgmmaConfig<T, kRows, kColumns, true, true>>(args, stream); });
}

}  // namespace epitaxy::EPITAXY_WORLD
