// The end of a 16-bit dense layer with bias: fp32 product in, bias and activation, one rounding.
#include "kernels/dense.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/channel_tiles.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kRowsPerThread = 4;

template <class T, int N>
__global__ void __launch_bounds__(kTileThreads) dense_epilogue_kernel(DenseEpilogueArgs args, ChannelLayout layout) {
  const ChannelPlace place = channel_place<N>(layout, args.columns);
  if (!place.active) return;
  float bias[N];
  load_floats(bias, args.bias + place.channel);
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * layout.rows * kRowsPerThread + place.row;
#pragma unroll
  for (int r = 0; r < kRowsPerThread; ++r) {
    const std::int64_t row = first + r * layout.rows;
    if (row >= args.rows) return;
    float values[N];
    load_floats(values, args.z + row * args.columns + place.channel);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      values[i] += bias[i];
      if (args.activation == Activation::relu && values[i] <= 0.0f) values[i] = 0.0f;  // NaN stays NaN
    }
    store_floats(static_cast<T*>(args.y) + row * args.columns + place.channel, values);
  }
}

void run(const DenseEpilogueArgs& args, Stream stream) {
  with_float(args.dtype, [&]<class T>() {
    const bool aligned =
        is_aligned<float, 4>(args.z) && is_aligned<float, 4>(args.bias) && is_aligned<T, kVectorWidth<T>>(static_cast<T*>(args.y));
    with_channel_vector<T>(args.columns, aligned, [&]<int N>() {
      const ChannelLayout layout = channel_layout(args.columns, N);
      const std::int64_t per_block = layout.rows * kRowsPerThread;
      launch(stream, "dense_epilogue", dense_epilogue_kernel<T, N>,
             dim3(static_cast<unsigned>((args.rows + per_block - 1) / per_block), layout.chunks), dim3(kTileThreads), 0, args, layout);
    });
  });
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void dense_epilogue<World>(const DenseEpilogueArgs& args, Stream stream) {
  EPITAXY_WORLD::run(args, stream);
}
}  // namespace epitaxy
