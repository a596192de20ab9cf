// Inverted dropout, one thread for 8 elements: two Philox blocks.
#include "kernels/dropout.h"

#include "epitaxy/dtype_switch.h"
#include "epitaxy/philox.h"
#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;

template <class T>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(const T* x, const std::int64_t* step, T* y, std::int64_t count, std::uint32_t threshold, float scale, std::uint64_t seed,
                   std::uint32_t ordinal) {
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVector;
  if (first >= count) return;
  const int valid = count - first < kVector ? static_cast<int>(count - first) : kVector;
  const std::uint32_t now = static_cast<std::uint32_t>(*step);
  float values[kVector];
  load_vector<kVector>(x + first, values, valid);
#pragma unroll
  for (int i = 0; i < kVector; i += 4) {
    const Philox4 four = philox(seed, static_cast<std::uint64_t>(first + i) / 4, ordinal, RandomPurpose::dropout, now);
    const std::uint32_t words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) values[i + j] = (words[j] >> 8) >= threshold ? values[i + j] * scale : 0.0f;
  }
  store_vector<kVector>(y + first, values, valid);
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void dropout_forward<World>(const DropoutArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  with_float(args.dtype, [&]<class T>() {
    constexpr std::int64_t kPerBlock = kThreads * kVector;
    launch(stream, "dropout", dropout_kernel<T>, dim3(static_cast<unsigned>((args.count + kPerBlock - 1) / kPerBlock)), dim3(kThreads), 0,
           static_cast<const T*>(args.x), args.step, static_cast<T*>(args.y), args.count, dropout_threshold(args.rate),
           1.0f / (1.0f - args.rate), args.seed, args.ordinal);
  });
}
}  // namespace epitaxy
