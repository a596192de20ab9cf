// Augmentation of images: a block draws its image's changes once, then each thread follows pixels of the result back to their source.
#include "kernels/augment_images.h"

#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;
constexpr int kPixels = 4;  // a thread

/// Pixels of `units` times kBytes. blockIdx.x counts the chunks of all images.
template <int kBytes>
__global__ void __launch_bounds__(kThreads) augment_images_kernel(AugmentImagesArgs args, unsigned chunks, int units) {
  EPITAXY_SHARED(AugmentDraw, shared, [1]);
  const unsigned image = blockIdx.x / chunks, chunk = blockIdx.x - image * chunks;
  if (threadIdx.x == 0)
    shared[0] = draw_augmentation(args.augmentation, static_cast<std::uint64_t>(*args.seed), static_cast<std::uint32_t>(*args.epoch),
                                  static_cast<std::uint64_t>(args.sample[image]));
  __syncthreads();
  const AugmentDraw draw = shared[0];
  const unsigned width = static_cast<unsigned>(args.w), pixels = static_cast<unsigned>(args.h) * width;
  const std::int64_t start = static_cast<std::int64_t>(image) * pixels;
  const auto* from = static_cast<const unsigned char*>(args.from);
  auto* to = static_cast<unsigned char*>(args.to);
  using Unit = Vector<unsigned char, kBytes>;
  const unsigned first = chunk * kThreads * kPixels + threadIdx.x;
  for (int unit = 0; unit < units; ++unit) {
    Unit values[kPixels];
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const unsigned pixel = first + k * kThreads, row = pixel / width;
      if (pixel >= pixels) continue;
      const AugmentPixel place = augment_source(draw, args.augmentation.fill, args.h, args.w, row, pixel - row * width);
      values[k] = load_vector<unsigned char, kBytes>(from + ((start + place.row * args.w + place.column) * units + unit) * kBytes);
    }
#pragma unroll
    for (int k = 0; k < kPixels; ++k)
      if (first + k * kThreads < pixels) store_vector(to + ((start + first + k * kThreads) * units + unit) * kBytes, values[k]);
  }
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;
template <>
void augment_images<World>(const AugmentImagesArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  constexpr std::int64_t kPerBlock = kThreads * kPixels;
  const std::int64_t chunks = (args.h * args.w + kPerBlock - 1) / kPerBlock;
  const auto run = [&]<int kBytes>() {
    launch(stream, "augment_images", augment_images_kernel<kBytes>, dim3(static_cast<unsigned>(args.n * chunks)), dim3(kThreads), 0, args,
           static_cast<unsigned>(chunks), static_cast<int>(args.pixel_bytes / kBytes));
  };
  const std::uintptr_t all = reinterpret_cast<std::uintptr_t>(args.from) | reinterpret_cast<std::uintptr_t>(args.to) |
                             static_cast<std::uintptr_t>(args.pixel_bytes);
  if (all % 4 == 0) return run.template operator()<4>();
  if (all % 2 == 0) return run.template operator()<2>();
  run.template operator()<1>();
}
}  // namespace epitaxy
