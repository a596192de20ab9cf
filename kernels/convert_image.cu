// Conversion of detector images, one thread for 8 elements.
#include "kernels/convert_image.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;

template <class From, class To>
__global__ void __launch_bounds__(kThreads)
    convert_image_kernel(const From* x, const float* mean, const float* scale, To* y, std::int64_t count, std::int64_t channels) {
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector;
  if (first >= count) return;
  const int valid = count - first < kVector ? static_cast<int>(count - first) : kVector;
  float values[kVector];
  load_vector<kVector>(x + first, values, valid);
  std::int64_t channel = channels == 1 ? 0 : first % channels;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    values[i] = (values[i] - mean[channel]) * scale[channel];
    if (++channel == channels) channel = 0;
  }
  store_vector<kVector>(y + first, values, valid);
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void convert_image_forward<World>(const ConvertImageArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  const std::int64_t count = args.pixels * args.channels;
  with_pixel(args.from, [&]<class From>() {
    with_float(args.to, [&]<class To>() {
      constexpr std::int64_t kPerBlock = kThreads * kVector;
      launch(stream, "convert_image", convert_image_kernel<From, To>, dim3(static_cast<unsigned>((count + kPerBlock - 1) / kPerBlock)),
             dim3(kThreads), 0, static_cast<const From*>(args.x), args.mean, args.scale, static_cast<To*>(args.y), count, args.channels);
    });
  });
}
}  // namespace epitaxy
