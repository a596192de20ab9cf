// Sums per channel in fp32, vectorised over channels and threaded over tiles of pixels.
#include "kernels/reduce.h"

#include "cpu/channel_tiles.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void channel_sum<Host>(const ChannelSumArgs& args, Stream) {
  const std::int64_t tiles = pixel_tiles(args.pixels).tiles;
  with_float(args.dtype, [&]<class T>() {
    for_each_tile(args.pixels, args.channels, [&](std::int64_t tile, std::int64_t first, std::int64_t last) {
      add_pixels(static_cast<const T*>(args.x), args.partials + tile * args.channels, first, last, args.channels);
    });
  });
  add_tiles(args.partials, args.sum, tiles, args.channels, 0, args.channels);
}

}  // namespace epitaxy
