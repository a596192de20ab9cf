// Concatenation of rows: neighbouring threads move neighbouring units of the wide rows, of up to 16 bytes.
#include "kernels/concat.h"

#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;
constexpr int kUnits = 4;  // a thread

/// Rows of `a` and `b` units beside each other in `y`; kGradient: from y to a and b. Every thread loads all its units before it stores any.
template <int kBytes, bool kGradient>
__global__ void __launch_bounds__(kThreads)
    concat_kernel(unsigned char* a, unsigned char* b, unsigned char* y, std::int64_t units, unsigned a_units, unsigned width) {
  using Unit = Vector<unsigned char, kBytes>;
  const std::int64_t start = static_cast<std::int64_t>(blockIdx.x) * kThreads * kUnits, row = start / width;
  const unsigned offset = static_cast<unsigned>(start - row * width) + threadIdx.x;
  Unit values[kUnits];
  unsigned char *narrow[kUnits], *wide[kUnits];
#pragma unroll
  for (int k = 0; k < kUnits; ++k) {
    const unsigned unit = offset + k * kThreads, rows = unit / width, at = unit - rows * width;
    const std::int64_t r = row + rows;
    narrow[k] = at < a_units ? a + (r * a_units + at) * kBytes : b + (r * (width - a_units) + at - a_units) * kBytes;
    wide[k] = y + (r * width + at) * kBytes;
    if (start + threadIdx.x + k * kThreads < units) values[k] = load_vector<unsigned char, kBytes>(kGradient ? wide[k] : narrow[k]);
  }
#pragma unroll
  for (int k = 0; k < kUnits; ++k)
    if (start + threadIdx.x + k * kThreads < units) store_vector(kGradient ? narrow[k] : wide[k], values[k]);
}

template <bool kGradient>
void run(const void* a, const void* b, const void* y, std::int64_t rows, std::int64_t a_bytes, std::int64_t b_bytes, Stream stream) {
  const auto bytes = [](const void* p) { return static_cast<unsigned char*>(const_cast<void*>(p)); };
  const auto with_unit = [&]<int kBytes>() {
    const std::int64_t width = (a_bytes + b_bytes) / kBytes, units = rows * width;
    launch(stream, kGradient ? "concat_gradient" : "concat", concat_kernel<kBytes, kGradient>,
           dim3(static_cast<unsigned>((units + kThreads * kUnits - 1) / (kThreads * kUnits))), dim3(kThreads), 0, bytes(a), bytes(b),
           bytes(y), units, static_cast<unsigned>(a_bytes / kBytes), static_cast<unsigned>(width));
  };
  const std::uintptr_t all = reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b) |
                             reinterpret_cast<std::uintptr_t>(y) | static_cast<std::uintptr_t>(a_bytes | b_bytes);
  if (all % 16 == 0) return with_unit.template operator()<16>();
  if (all % 4 == 0) return with_unit.template operator()<4>();
  with_unit.template operator()<2>();
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void concat_forward<World>(const ConcatArgs& args, Stream stream) {
  EPITAXY_WORLD::run<false>(args.a, args.b, args.y, args.rows, args.a_bytes, args.b_bytes, stream);
}
template <>
void concat_backward<World>(const ConcatGradientArgs& args, Stream stream) {
  EPITAXY_WORLD::run<true>(args.da, args.db, args.dy, args.rows, args.a_bytes, args.b_bytes, stream);
}
}  // namespace epitaxy
