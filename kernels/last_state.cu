// Last states, one thread for each element of h_n.
#include "kernels/last_state.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;

/// Element i of h_n [places, batch, size], of which the last `directions` places are the last layer's.
template <class T, bool kBackward>
__global__ void last_state_kernel(const T* x, T* y, std::int64_t count, std::int64_t lower, std::int64_t directions, std::int64_t batch,
                                  std::int64_t size) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  if (i < lower) {  // of a layer below
    if constexpr (kBackward) y[i] = T{};
    return;
  }
  const std::int64_t j = i % size, n = i / size % batch, direction = (i - lower) / (size * batch);
  const std::int64_t place = (n * directions + direction) * size + j;
  if constexpr (kBackward)
    y[i] = x[place];
  else
    y[place] = x[i];
}

template <bool kBackward>
void run(const LastStateArgs& args, Stream stream) {
  with_float(args.dtype, [&]<class T>() {
    const std::int64_t layer = args.directions * args.batch * args.size, count = args.layers * layer;
    launch(stream, "last_state", last_state_kernel<T, kBackward>, dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)),
           dim3(kThreads), 0, static_cast<const T*>(args.x), static_cast<T*>(args.y), count, count - layer, args.directions, args.batch,
           args.size);
  });
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void last_state_forward<World>(const LastStateArgs& args, Stream stream) {
  EPITAXY_WORLD::run<false>(args, stream);
}
template <>
void last_state_backward<World>(const LastStateArgs& args, Stream stream) {
  EPITAXY_WORLD::run<true>(args, stream);
}
}  // namespace epitaxy
