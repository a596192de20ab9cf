// The forward pass and the input gradient on wgmma: rows of the product are pixels of the result, columns its channels.
//   forward          A = windows of x (im2col), along (tap, c);   B = filter [k][tap, c], along
//   input gradient   A = windows of dy, along (tap, k);           B = filter [tap, k][c], across (tf32: transposed before, [c][tap, k],
//                    along); one phase for each residue of dx's pixels by the stride, with the taps that reach it
#pragma once

#include "kernels/device/conv_wgmma_gradient.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// A part of the result whose pixels are reached by the same taps.
struct WgmmaPhase {
  Conv2dAxis y, x;
  int pixels, first_tile;  // row tiles of the phases before
  int out_y, out_x;        // of its first pixel
};

struct WgmmaPixelParams {
  DeviceTensorMap sources[kConv2dMostPhases];  // of each phase; forward: x and x2
  DeviceTensorMap filters[2];                  // forward: the channels of x and those of x2
  WgmmaPhase phases[kConv2dMostPhases];
  WgmmaStore out;
  int phase_count, tiles, column_tiles;
  int chunks, first_chunks;           // of the reduction's channels in all, and of the first source
  int first_source;                   // channels of it
  int filter_columns;                 // S
  int height, width, step_y, step_x;  // of the result
  bool flat;                          // 1x1 with stride 1: the source is a matrix, no windows
};

struct WgmmaTile {
  int phase, pixel, column;
};

template <class Config>
__device__ __forceinline__ WgmmaTile tile_of(const WgmmaPixelParams& p, int index) {
  const int tile = index / p.column_tiles;
  int phase = 0;
  while (phase + 1 < p.phase_count && tile >= p.phases[phase + 1].first_tile) ++phase;
  return {phase, (tile - p.phases[phase].first_tile) * Config::kRows, index % p.column_tiles * Config::kColumns};
}

template <class Config>
__device__ __forceinline__ void produce_pixels(const WgmmaPixelParams& p, const WgmmaMemory<Config>& memory) {
  Stage<Config::kStages> stage;
  for (int index = static_cast<int>(blockIdx.x); index < p.tiles; index += static_cast<int>(gridDim.x)) {
    const WgmmaTile tile = tile_of<Config>(p, index);
    const WgmmaPhase& phase = p.phases[tile.phase];
    const int x = tile.pixel % phase.x.pixels, rest = tile.pixel / phase.x.pixels;
    const int from_x = phase.x.lower + x * phase.x.stride, from_y = phase.y.lower + rest % phase.y.pixels * phase.y.stride;
    const int image = rest / phase.y.pixels;
    const auto load = [&](int chunk, int tap, unsigned offset_y, unsigned offset_x) {
      fill_stage<Config>(memory, stage, [&](unsigned char* a, unsigned char* b, Mbarrier* full) {
        const int second = chunk >= p.first_chunks && chunk < p.chunks, channel = (chunk - (second ? p.first_chunks : 0)) * Config::kDepth;
        const DeviceTensorMap& source = p.sources[tile.phase + second];
        if (p.flat)
          tma_load_2d(a, source, full, channel, tile.pixel);
        else
          tma_load_im2col_4d(a, source, full, channel, from_x, from_y, image, offset_x, offset_y);
        if constexpr (!Config::kBAcross) {
          tma_load_3d(b, p.filters[second], full, channel, tap, tile.column);
        } else {
#pragma unroll
          for (int block = 0; block < Config::kColumns / 64; ++block)
            tma_load_3d(b + block * kBlock64Bytes, p.filters[0], full, tile.column + 64 * block, tap, channel);
        }
      });
    };
    for (int ty = 0; ty < phase.y.taps; ++ty)
      for (int tx = 0; tx < phase.x.taps; ++tx)
        for (int chunk = 0; chunk < p.chunks; ++chunk)
          load(chunk, (phase.y.tap + ty * phase.y.tap_step) * p.filter_columns + phase.x.tap + tx * phase.x.tap_step,
               static_cast<unsigned>(phase.y.offset + ty * phase.y.offset_step),
               static_cast<unsigned>(phase.x.offset + tx * phase.x.offset_step));
    if (phase.y.taps * phase.x.taps == 0) load(p.chunks, 0, 0, 0);  // past the last channel: zeros
  }
}

template <class Config>
__device__ __forceinline__ void consume_pixels(const WgmmaPixelParams& p, const WgmmaMemory<Config>& memory) {
  Stage<Config::kStages> stage;
  const int group = consumer_group();
  for (int index = static_cast<int>(blockIdx.x); index < p.tiles; index += static_cast<int>(gridDim.x)) {
    const WgmmaTile tile = tile_of<Config>(p, index);
    const WgmmaPhase& phase = p.phases[tile.phase];
    const int steps = phase.y.taps * phase.x.taps * p.chunks;
    WgmmaSums<Config> sums;
    multiply_tile<Config>(sums, memory, stage, group, steps > 0 ? steps : 1);
    const auto line_of = [&](int pixel) {
      if (pixel >= phase.pixels) return -1;
      if (p.phase_count == 1) return pixel;
      const int x = pixel % phase.x.pixels, rest = pixel / phase.x.pixels, y = rest % phase.y.pixels;
      return (rest / phase.y.pixels * p.height + phase.out_y + y * p.step_y) * p.width + phase.out_x + x * p.step_x;
    };
    if constexpr (Config::kForward)
      store_tile<Config>(p.out, sums, memory.staging, tile.pixel, phase.pixels, tile.column, line_of);
    else
      store_gradient_tile<Config>(p.out, sums, memory.staging, tile.pixel, phase.pixels, tile.column, line_of);
  }
}

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocks) conv2d_wgmma_kernel(const __grid_constant__ WgmmaPixelParams p) {
  if constexpr (kHopper) {
    EPITAXY_DYNAMIC_SHARED(unsigned char, dynamic);
    const WgmmaMemory<Config> memory(dynamic);
    memory.initialise();
    share_block<Config::kMovesRegisters>([&] { consume_pixels<Config>(p, memory); }, [&] { produce_pixels<Config>(p, memory); });
  } else {
    __trap();
  }
}

/// A map of 128-byte lines: swizzled, fp32 rounded to tf32.
inline DeviceTensorMap wgmma_map(TensorMap map) {
  map.tf32 = map.dtype == DType::fp32;
  return device_tensor_map(map);
}

inline TensorMap wgmma_source(const Conv2dProblem& d, const void* base, bool forward, std::int64_t channels, const Conv2dAxis& y,
                              const Conv2dAxis& x, int depth, int pixels) {
  Im2col walk{d.n,   forward ? d.h : d.p, forward ? d.w : d.q, channels, y.lower, x.lower, y.upper, x.upper, y.stride, x.stride, depth,
              pixels};
  return im2col_tensor_map(d.dtype, base, walk, TensorMap::Swizzle::swizzle128);
}

inline int wgmma_tiles(std::int64_t a, std::int64_t b) { return static_cast<int>((a + b - 1) / b); }

/// Blocks of a persistent grid.
template <class Config>
dim3 wgmma_grid(std::int64_t tiles, Stream stream) {
  const std::int64_t most = std::int64_t{Config::kBlocks} * stream.profile->multiprocessors;
  return dim3(static_cast<unsigned>(tiles < most ? tiles : most));
}

/// The parameters of a tile of `rows` x `columns`; `strips`: for conv_wgmma_strips.cuh.
template <class T>
WgmmaPixelParams wgmma_pixel_params(const Conv2dArgs& args, int rows, int columns, bool strips) {
  constexpr int kDepth = kLineBytes / sizeof(T);
  const Conv2dProblem& d = args.problem;
  constexpr auto kSwizzle = TensorMap::Swizzle::swizzle128;
  const bool forward = args.pass == Conv2dPass::forward;
  const std::int64_t taps = d.r * d.s;
  WgmmaPixelParams p{};
  p.filter_columns = static_cast<int>(d.s);
  p.out.result = args.result, p.out.result2 = args.result2;
  p.out.columns = static_cast<int>(forward ? d.k : d.c);
  p.out.first_columns = static_cast<int>(forward ? d.k : d.first());
  p.height = static_cast<int>(forward ? d.p : d.h), p.width = static_cast<int>(forward ? d.q : d.w);
  p.step_y = static_cast<int>(forward ? 1 : d.stride[0]), p.step_x = static_cast<int>(forward ? 1 : d.stride[1]);
  p.column_tiles = wgmma_tiles(p.out.columns, columns);
  p.out.bias = d.bias ? args.bias : nullptr;
  p.out.residual = d.residual ? args.residual : nullptr;
  if (forward) {
    p.out.statistics = d.statistics && !strips ? args.statistics : nullptr;
    p.out.relu = d.activation == Activation::relu;
    p.first_chunks = wgmma_tiles(d.first(), kDepth), p.chunks = p.first_chunks + wgmma_tiles(d.second, kDepth);
    const bool still = d.stride[0] == 1 && d.stride[1] == 1 && d.padding == std::array<std::int64_t, 4>{};
    p.flat = taps == 1 && still && !strips;
    for (int i = 0; i < (d.second > 0 ? 2 : 1); ++i) {  // the filter's channels of either source, past whose end zeros are read
      const std::int64_t channels = i == 0 ? d.first() : d.second, offset = i == 0 ? 0 : d.first();
      const auto* base = static_cast<const T*>(args.filter) + offset;
      p.filters[i] = wgmma_map(tiled_tensor_map(d.dtype, base, {channels, taps, d.k}, {d.c, d.c * taps}, {kDepth, 1, columns}, kSwizzle));
    }
  } else {
    p.out.gradient = conv_gradient(args, false);
    p.chunks = p.first_chunks = wgmma_tiles(d.k, kDepth);
    p.filters[0] = wgmma_map(
        sizeof(T) == 2 ? tiled_tensor_map(d.dtype, args.filter, {d.c, taps, d.k}, {d.c, d.c * taps}, {64, 1, 64}, kSwizzle)
                       : tiled_tensor_map(d.dtype, args.filter, {d.k, taps, d.c}, {d.k, d.k * taps}, {kDepth, 1, columns}, kSwizzle));
  }
  int row_tiles = 0;
  for (int out_y = 0; out_y < p.step_y; ++out_y)
    for (int out_x = 0; out_x < p.step_x; ++out_x) {
      WgmmaPhase phase{};
      phase.y = forward ? conv2d_forward_axis(d, 0) : conv2d_gradient_axis(d, 0, out_y);
      phase.x = forward ? conv2d_forward_axis(d, 1) : conv2d_gradient_axis(d, 1, out_x);
      if (strips) phase.x = conv2d_strip_axis(phase.x);
      phase.out_y = out_y, phase.out_x = out_x, phase.first_tile = row_tiles;
      const std::int64_t pixels = d.n * phase.y.pixels * phase.x.pixels;
      if (pixels == 0) continue;
      phase.pixels = static_cast<int>(pixels);
      row_tiles += wgmma_tiles(pixels, rows);
      for (int i = 0; i < (forward && d.second > 0 ? 2 : 1); ++i) {
        const std::int64_t channels = !forward ? d.k : i == 0 ? d.first() : d.second;
        const void* base = !forward ? args.dy : i == 0 ? args.x : args.x2;
        p.sources[p.phase_count + i] = wgmma_map(
            p.flat ? tiled_tensor_map(d.dtype, base, {channels, pixels}, {channels}, {kDepth, rows}, kSwizzle)
                   : wgmma_source(d, base, forward, channels, phase.y, phase.x, kDepth, strips ? rows + kConv2dStripPixels : rows));
      }
      p.phases[p.phase_count++] = phase;
    }
  p.tiles = row_tiles * p.column_tiles;
  return p;
}

template <class Config>
void launch_wgmma_pixels(const Conv2dArgs& args, Stream stream) {
  const WgmmaPixelParams p = wgmma_pixel_params<typename Config::T>(args, Config::kRows, Config::kColumns, false);
  launch(stream, Config::kForward ? "conv2d_wgmma_forward" : "conv2d_wgmma_input_gradient", conv2d_wgmma_kernel<Config>,
         wgmma_grid<Config>(p.tiles, stream), dim3(Config::kThreads), Config::kSharedBytes, p);
}

/// The tile of the plan.
template <class T, bool kForward>
void launch_wgmma_pixels_tile(const Conv2dArgs& args, Stream stream) {
  constexpr bool kBAcross = !kForward && sizeof(T) == 2;
  with_wgmma_tile(args.plan.tile, [&]<int kRows, int kColumns>() {
    launch_wgmma_pixels<WgmmaConfig<T, kRows, kColumns, false, kBAcross, kForward>>(args, stream);
  });
}

}  // namespace epitaxy::EPITAXY_WORLD
