// Sum of two tensors, one thread for each 16-byte vector.
#include "kernels/add.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) add_kernel(const T* a, const T* b, T* y, std::int64_t count) {
  constexpr int kVector = kVectorWidth<T>;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector;
  if (first >= count) return;
  const int valid = count - first < kVector ? static_cast<int>(count - first) : kVector;
  float left[kVector], right[kVector];
  load_vector<kVector>(a + first, left, valid);
  load_vector<kVector>(b + first, right, valid);
#pragma unroll
  for (int i = 0; i < kVector; ++i) left[i] += right[i];
  store_vector<kVector>(y + first, left, valid);
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void add_forward<World>(const AddArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  with_float(args.dtype, [&]<class T>() {
    constexpr std::int64_t kPerBlock = kThreads * kVectorWidth<T>;
    launch(stream, "add", add_kernel<T>, dim3(static_cast<unsigned>((args.count + kPerBlock - 1) / kPerBlock)), dim3(kThreads), 0,
           static_cast<const T*>(args.a), static_cast<const T*>(args.b), static_cast<T*>(args.y), args.count);
  });
}
}  // namespace epitaxy
