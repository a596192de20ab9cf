// Sums over the pixels of [pixels, channels] memory, channel by channel: how a block lies over a tile, the fixed-order tree within it, and
// the kernel that adds the tiles. Used by channel_sum and batch_norm.
#pragma once

#include "kernels/device/vector.cuh"

namespace epitaxy::EPITAXY_WORLD {

inline constexpr int kTileThreads = 256;

/// A block covers `rows` pixels x `lanes` vectors of N channels; blockIdx.y counts chunks of lanes * N channels. Lanes of one pixel are
/// neighbours in memory, so a warp reads contiguously; at most 32 lanes, so that wide layers give enough blocks.
struct ChannelLayout {
  int lanes, rows;
  unsigned chunks;
};

inline ChannelLayout channel_layout(std::int64_t channels, int vector) {
  const std::int64_t vectors = (channels + vector - 1) / vector;
  const std::int64_t chunks = (vectors + 31) / 32;
  const int lanes = static_cast<int>((vectors + chunks - 1) / chunks);
  return {lanes, kTileThreads / lanes, static_cast<unsigned>(chunks)};
}

/// Where this thread stands in its block.
struct ChannelPlace {
  int lane, row;
  std::int64_t channel;  // the first of its N
  bool active;           // false past the last channel and for left-over threads
};

template <int N>
__device__ __forceinline__ ChannelPlace channel_place(const ChannelLayout& layout, std::int64_t channels) {
  const int row = static_cast<int>(threadIdx.x) / layout.lanes, lane = static_cast<int>(threadIdx.x) % layout.lanes;
  const std::int64_t channel = (static_cast<std::int64_t>(blockIdx.y) * layout.lanes + lane) * N;
  return {lane, row, channel, row < layout.rows && channel < channels};
}

/// Calls group.template operator()<K>(p) for the pixels p, p + rows, ... of [first, last), K = kGroup at a time and then singly: a group
/// loads all its pixels before it uses or stores any, which keeps kGroup loads in flight.
template <int kGroup, class Group>
__device__ __forceinline__ void for_each_pixel(std::int64_t first, std::int64_t last, int rows, Group&& group) {
  std::int64_t p = first;
#pragma unroll 1
  for (; p + (kGroup - 1) * rows < last; p += kGroup * rows) group.template operator()<kGroup>(p);
#pragma unroll 1
  for (; p < last; p += rows) group.template operator()<1>(p);
}

/// Calls work.template operator()<N>() with 16-byte vectors where C and every address allow them, else with single elements.
template <class T, class Work>
void with_channel_vector(std::int64_t channels, bool aligned, Work&& work) {
  constexpr int kWidth = kVectorWidth<T>;
  if (aligned && channels % kWidth == 0)
    work.template operator()<kWidth>();
  else
    work.template operator()<1>();
}

/// Pixels of one block of an elementwise pass: up to 16 a thread, fewer where the card would not fill.
inline std::int64_t pixels_per_block(std::int64_t pixels, const ChannelLayout& layout, Stream stream) {
  const std::int64_t wanted = 8 * static_cast<std::int64_t>(stream.profile ? stream.profile->multiprocessors : 132);
  const std::int64_t passes = pixels * layout.chunks / (wanted * layout.rows);
  return layout.rows * (passes < 1 ? 1 : passes > 16 ? 16 : passes);
}

inline dim3 grid_of(std::int64_t pixels, std::int64_t size, const ChannelLayout& layout) {
  return dim3(static_cast<unsigned>((pixels + size - 1) / size), layout.chunks);
}

/// Whether 16-byte accesses are allowed at all of these.
template <class... Pointers>
inline bool all_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// Adds each thread's sums over the block's rows in a fixed tree; row 0 holds the result.
template <int kSums, int N>
__device__ __forceinline__ void add_rows(float (&sums)[kSums][N], const ChannelLayout& layout, const ChannelPlace& place) {
  EPITAXY_SHARED(float, shared, [kSums * N][kTileThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  for (int active = layout.rows; active > 1;) {
    const int half = (active + 1) / 2;
    if (place.row >= half && place.row < active) {
#pragma unroll
      for (int s = 0; s < kSums; ++s)
#pragma unroll
        for (int i = 0; i < N; ++i) shared[s * N + i][thread] = sums[s][i];
    }
    __syncthreads();
    if (place.row + half < active) {
#pragma unroll
      for (int s = 0; s < kSums; ++s)
#pragma unroll
        for (int i = 0; i < N; ++i) sums[s][i] += shared[s * N + i][thread + half * layout.lanes];
    }
    active = half;
  }
}

namespace {

/// partials [tiles, 2 or 1 times channels] -> their sums, the second half of the columns to `second`, for each `group` of tiles in a line
/// of its own. 8 columns x 32 rows a block.
__global__ void __launch_bounds__(256) add_tiles_kernel(const float* partials, float* first, float* second, std::int64_t tiles,
                                                        std::int64_t channels, std::int64_t columns, std::int64_t group) {
  const int lane = static_cast<int>(threadIdx.x) % 8, row = static_cast<int>(threadIdx.x) / 8;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * 8 + lane;
  const std::int64_t begin = blockIdx.y * group, end = begin + group < tiles ? begin + group : tiles;
  const ChannelLayout layout{8, 32, 1};
  float sums[1][1] = {{0.0f}};
  if (column < columns)
#pragma unroll 4
    for (std::int64_t t = begin + row; t < end; t += 32) sums[0][0] += partials[t * columns + column];
  add_rows(sums, layout, {lane, row, column, true});
  if (row == 0 && column < columns) (column < channels ? first : second - channels)[blockIdx.y * columns + column] = sums[0][0];
}

/// group 0: all tiles into one line.
inline void add_tiles(Stream stream, const char* name, const float* partials, float* first, float* second, std::int64_t tiles,
                      std::int64_t channels, std::int64_t group = 0) {
  const std::int64_t columns = second ? 2 * channels : channels;
  if (group == 0) group = tiles;
  launch(stream, name, add_tiles_kernel, dim3(static_cast<unsigned>((columns + 7) / 8), static_cast<unsigned>((tiles + group - 1) / group)),
         dim3(256), 0, partials, first, second, tiles, channels, columns, group);
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD
