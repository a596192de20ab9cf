// The forward pass and the input gradient on wgmma where a row of taps reads neighbouring pixels (stride 1 along the row): one load brings
// a strip of pixels for all of them, and a tap multiplies the strip from its own pixel on. L2 is read once a row of taps instead of once a
// tap, which for 3x3 filters lifts the limit of its bandwidth. To keep a tap's pixels neighbours, rows of the result are as long as the
// strip's, source padding included; the sums of the last taps - 1 places of each row mean nothing and are not stored.
#pragma once

#include "kernels/device/conv_wgmma_pixels.cuh"

namespace epitaxy::EPITAXY_WORLD {

template <class T_, int kColumns_, bool kForward_>
struct WgmmaStripConfig {
  using T = T_;
  static constexpr int kRows = 256, kColumns = kColumns_, kRowBlocks = 2;
  static constexpr bool kForward = kForward_, kAAcross = false, kBAcross = !kForward && sizeof(T) == 2, kStatistics = false;
  static constexpr int kDepth = kLineBytes / sizeof(T);
  static constexpr int kStripBytes = (kRows + kConv2dStripPixels) * kLineBytes, kFilterBytes = kColumns * kLineBytes;
  static constexpr int kStrips = 3, kFilters = kColumns == 64 ? 8 : 5;  // stages
  static constexpr int kBlocks = 1, kThreads = kConsumers + 128;
  static constexpr int kBarrierBytes = 256;
  static constexpr std::size_t kSharedBytes =
      kStrips * kStripBytes + kFilters * kFilterBytes + kConsumers / 32 * kStagingBytes + kBarrierBytes + 896;
  static_assert(kSharedBytes <= 227 * 1024 && kStripBytes % 1024 == 0 && 2 * (kStrips + kFilters) * sizeof(Mbarrier) <= kBarrierBytes);
};

template <class Config>
struct StripMemory {
  unsigned char *strips, *filters, *staging;
  Mbarrier *full_strips, *empty_strips, *full_filters, *empty_filters;
  __device__ __forceinline__ explicit StripMemory(unsigned char* memory)
      : strips(align_shared<1024>(memory)),
        filters(strips + Config::kStrips * Config::kStripBytes),
        staging(filters + Config::kFilters * Config::kFilterBytes),
        full_strips(reinterpret_cast<Mbarrier*>(staging + kConsumers / 32 * kStagingBytes)),
        empty_strips(full_strips + Config::kStrips),
        full_filters(empty_strips + Config::kStrips),
        empty_filters(full_filters + Config::kFilters) {}
  /// By all threads of the block.
  __device__ __forceinline__ void initialise() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < Config::kStrips; ++i) mbarrier_init(&full_strips[i], 1), mbarrier_init(&empty_strips[i], kConsumers / 32);
      for (int i = 0; i < Config::kFilters; ++i) mbarrier_init(&full_filters[i], 1), mbarrier_init(&empty_filters[i], kConsumers / 32);
      mbarrier_init_fence();
    }
    __syncthreads();
  }
};

template <class Config>
__device__ __forceinline__ void produce_strips(const WgmmaPixelParams& p, const StripMemory<Config>& memory) {
  const WgmmaPhase& phase = p.phases[0];
  Stage<Config::kStrips> strip;
  Stage<Config::kFilters> filter;
  for (int index = static_cast<int>(blockIdx.x); index < p.tiles; index += static_cast<int>(gridDim.x)) {
    const WgmmaTile tile = tile_of<Config>(p, index);
    const int x = tile.pixel % phase.x.pixels, rest = tile.pixel / phase.x.pixels;
    const int from_x = phase.x.lower + x, from_y = phase.y.lower + rest % phase.y.pixels * phase.y.stride, image = rest / phase.y.pixels;
    for (int ty = 0; ty < phase.y.taps; ++ty)
      for (int chunk = 0; chunk < p.chunks; ++chunk) {
        const int second = chunk >= p.first_chunks, channel = (chunk - (second ? p.first_chunks : 0)) * Config::kDepth;
        mbarrier_wait(&memory.empty_strips[strip.index], strip.round ^ 1);
        mbarrier_arrive_expect_tx(&memory.full_strips[strip.index], Config::kStripBytes);
        tma_load_im2col_4d(memory.strips + strip.index * Config::kStripBytes, p.sources[second], &memory.full_strips[strip.index], channel,
                           from_x, from_y, image, 0, static_cast<unsigned>(phase.y.offset + ty * phase.y.offset_step));
        strip.next();
        for (int tx = 0; tx < phase.x.taps; ++tx) {
          const int tap = (phase.y.tap + ty * phase.y.tap_step) * p.filter_columns + phase.x.tap + tx * phase.x.tap_step;
          unsigned char* to = memory.filters + filter.index * Config::kFilterBytes;
          Mbarrier* full = &memory.full_filters[filter.index];
          mbarrier_wait(&memory.empty_filters[filter.index], filter.round ^ 1);
          mbarrier_arrive_expect_tx(full, Config::kFilterBytes);
          if constexpr (!Config::kBAcross) {
            tma_load_3d(to, p.filters[second], full, channel, tap, tile.column);
          } else {
#pragma unroll
            for (int block = 0; block < Config::kColumns / 64; ++block)
              tma_load_3d(to + block * kBlock64Bytes, p.filters[0], full, tile.column + 64 * block, tap, channel);
          }
          filter.next();
        }
      }
  }
}

template <class Config>
__device__ __forceinline__ void consume_strips(const WgmmaPixelParams& p, const StripMemory<Config>& memory) {
  const WgmmaPhase& phase = p.phases[0];
  const int group = consumer_group();
  const bool speaks = threadIdx.x % 32 == 0;
  Stage<Config::kStrips> strip;
  Stage<Config::kFilters> filter;
  for (int index = static_cast<int>(blockIdx.x); index < p.tiles; index += static_cast<int>(gridDim.x)) {
    const WgmmaTile tile = tile_of<Config>(p, index);
    WgmmaSums<Config> sums;
    int strip_before = 0, filter_before = 0;
    for (int step = 0; step < phase.y.taps * p.chunks; ++step) {
      mbarrier_wait(&memory.full_strips[strip.index], strip.round);
      for (int tx = 0; tx < phase.x.taps; ++tx) {
        mbarrier_wait(&memory.full_filters[filter.index], filter.round);
        wgmma_fence();
        const int shift = phase.x.offset + tx * phase.x.offset_step;  // pixels; the swizzle goes by the address, so rows may be skipped
        multiply_stage<Config>(sums, memory.strips + strip.index * Config::kStripBytes + shift * kLineBytes,
                               memory.filters + filter.index * Config::kFilterBytes, group, step + tx > 0);
        wgmma_commit();
        if (step + tx > 0) {
          wgmma_wait<1>();
          if (speaks) {
            mbarrier_arrive(&memory.empty_filters[filter_before]);
            if (tx == 0) mbarrier_arrive(&memory.empty_strips[strip_before]);
          }
        }
        filter_before = filter.index;
        filter.next();
      }
      strip_before = strip.index;
      strip.next();
    }
#pragma unroll
    for (int block = 0; block < Config::kRowBlocks; ++block) wgmma_wait<0>(sums[block]);
    if (speaks) mbarrier_arrive(&memory.empty_filters[filter_before]), mbarrier_arrive(&memory.empty_strips[strip_before]);
    const auto line_of = [&](int pixel) {
      const int x = pixel % phase.x.pixels;
      return pixel < phase.pixels && x < p.width ? pixel / phase.x.pixels * p.width + x : -1;
    };
    if constexpr (Config::kForward)
      store_tile<Config>(p.out, sums, memory.staging, tile.pixel, phase.pixels, tile.column, line_of);
    else
      store_gradient_tile<Config>(p.out, sums, memory.staging, tile.pixel, phase.pixels, tile.column, line_of);
  }
}

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocks)
    conv2d_wgmma_strips_kernel(const __grid_constant__ WgmmaPixelParams p) {
  if constexpr (kHopper) {
    EPITAXY_DYNAMIC_SHARED(unsigned char, dynamic);
    const StripMemory<Config> memory(dynamic);
    memory.initialise();
    share_block<true>([&] { consume_strips<Config>(p, memory); }, [&] { produce_strips<Config>(p, memory); });
  } else {
    __trap();
  }
}

template <class T, int kColumns, bool kForward>
void launch_wgmma_strips(const Conv2dArgs& args, Stream stream) {
  using Config = WgmmaStripConfig<T, kColumns, kForward>;
  const WgmmaPixelParams p = wgmma_pixel_params<T>(args, Config::kRows, Config::kColumns, true);
  launch(stream, kForward ? "conv2d_wgmma_strips_forward" : "conv2d_wgmma_strips_input_gradient", conv2d_wgmma_strips_kernel<Config>,
         wgmma_grid<Config>(p.tiles, stream), dim3(Config::kThreads), Config::kSharedBytes, p);
}

/// The tile of the plan.
template <class T, bool kForward>
void launch_wgmma_strips_tile(const Conv2dArgs& args, Stream stream) {
  switch (args.plan.tile) {
    case Conv2dTile::m256n64_strips: return launch_wgmma_strips<T, 64, kForward>(args, stream);
    case Conv2dTile::m256n128_strips: return launch_wgmma_strips<T, 128, kForward>(args, stream);
    default: fail("conv2d: no wgmma kernel for this tile");
  }
}

}  // namespace epitaxy::EPITAXY_WORLD
