// Sums per channel: partial sums of tiles of pixels, then the tiles in a fixed tree.
#include "kernels/reduce.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/channel_tiles.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

template <class T, int N>
__global__ void __launch_bounds__(kTileThreads)
    channel_sum_kernel(const T* x, float* partials, std::int64_t pixels, std::int64_t channels, std::int64_t size, ChannelLayout layout) {
  const ChannelPlace place = channel_place<N>(layout, channels);
  const std::int64_t first = blockIdx.x * size, last = first + size < pixels ? first + size : pixels;
  float sums[1][N] = {};
  if (place.active)
#pragma unroll 4
    for (std::int64_t p = first + place.row; p < last; p += layout.rows) {
      float values[N];
      load_floats(values, x + p * channels + place.channel);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[0][i] += values[i];
    }
  add_rows(sums, layout, place);
  if (place.active && place.row == 0) store_floats(partials + blockIdx.x * channels + place.channel, sums[0]);
}

void run(const ChannelSumArgs& args, Stream stream) {
  const PixelTiles tiles = pixel_tiles(args.pixels);
  float* partials = tiles.tiles == 1 ? args.sum : args.partials;
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    const bool aligned = is_aligned<T, kVectorWidth<T>>(x) && is_aligned<float, 4>(partials);
    with_channel_vector<T>(args.channels, aligned, [&]<int N>() {
      const ChannelLayout layout = channel_layout(args.channels, N);
      launch(stream, "channel_sum", channel_sum_kernel<T, N>, dim3(static_cast<unsigned>(tiles.tiles), layout.chunks), dim3(kTileThreads),
             0, x, partials, args.pixels, args.channels, tiles.size, layout);
    });
  });
  if (tiles.tiles > 1) add_tiles(stream, "channel_sum", partials, args.sum, nullptr, tiles.tiles, args.channels);
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void channel_sum<World>(const ChannelSumArgs& args, Stream stream) {
  EPITAXY_WORLD::run(args, stream);
}
}  // namespace epitaxy
