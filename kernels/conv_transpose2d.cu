// A bias added to every pixel, in place.
#include "kernels/conv_transpose2d.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/channel_tiles.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kPixelsPerThread = 8;

template <class T, int N>
__global__ void __launch_bounds__(kTileThreads) bias_kernel(AddBiasArgs args, ChannelLayout layout) {
  const ChannelPlace place = channel_place<N>(layout, args.channels);
  if (!place.active) return;
  float bias[N];
  load_floats(bias, args.bias + place.channel);
  T* y = static_cast<T*>(args.y) + place.channel;
  const std::int64_t size = layout.rows * kPixelsPerThread, first = blockIdx.x * size;
  for_each_pixel<4>(first + place.row, first + size < args.pixels ? first + size : args.pixels, layout.rows,
                    [&]<int kPixels>(std::int64_t p) {
                      Packed<T, N> values[kPixels];
#pragma unroll
                      for (int k = 0; k < kPixels; ++k) values[k].load(y + (p + k * layout.rows) * args.channels);
#pragma unroll
                      for (int k = 0; k < kPixels; ++k) {
#pragma unroll
                        for (int i = 0; i < N; ++i) values[k].set(i, values[k].get(i) + bias[i]);
                        values[k].store(y + (p + k * layout.rows) * args.channels);
                      }
                    });
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using namespace EPITAXY_WORLD;
template <>
void conv_transpose2d_bias<EPITAXY_WORLD::World>(const AddBiasArgs& args, Stream stream) {
  with_float(args.dtype, [&]<class T>() {
    const bool aligned = is_aligned<T, kVectorWidth<T>>(static_cast<T*>(args.y)) && is_aligned<float, 4>(args.bias);
    with_channel_vector<T>(args.channels, aligned, [&]<int N>() {
      const ChannelLayout layout = channel_layout(args.channels, N);
      const std::int64_t size = layout.rows * kPixelsPerThread;
      launch(stream, "conv_transpose2d_bias", bias_kernel<T, N>,
             dim3(static_cast<unsigned>((args.pixels + size - 1) / size), layout.chunks), dim3(kTileThreads), 0, args, layout);
    });
  });
}
}  // namespace epitaxy
