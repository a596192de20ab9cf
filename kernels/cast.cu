// Conversion between floating types, one thread for 8 elements.
#include "kernels/cast.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;

template <class From, class To>
__global__ void __launch_bounds__(kThreads) cast_kernel(const From* x, To* y, std::int64_t count) {
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector;
  if (first >= count) return;
  const int valid = count - first < kVector ? static_cast<int>(count - first) : kVector;
  float values[kVector];
  load_vector<kVector>(x + first, values, valid);
  store_vector<kVector>(y + first, values, valid);
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void cast_forward<World>(const CastArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  with_float(args.from, [&]<class From>() {
    with_float(args.to, [&]<class To>() {
      constexpr std::int64_t kPerBlock = kThreads * kVector;
      launch(stream, "cast", cast_kernel<From, To>, dim3(static_cast<unsigned>((args.count + kPerBlock - 1) / kPerBlock)), dim3(kThreads),
             0, static_cast<const From*>(args.x), static_cast<To*>(args.y), args.count);
    });
  });
}
}  // namespace epitaxy
