// Augmentation of images, pixel by pixel.
#include "kernels/augment_images.h"

#include <cstring>

namespace epitaxy {

template <>
void augment_images<Reference>(const AugmentImagesArgs& args, Stream) {
  const auto* from = static_cast<const std::byte*>(args.from);
  auto* to = static_cast<std::byte*>(args.to);
  for (std::int64_t i = 0; i < args.n; ++i) {
    const AugmentDraw draw = draw_augmentation(args.augmentation, static_cast<std::uint64_t>(*args.seed),
                                               static_cast<std::uint32_t>(*args.epoch), static_cast<std::uint64_t>(args.sample[i]));
    for (std::int64_t row = 0; row < args.h; ++row)
      for (std::int64_t column = 0; column < args.w; ++column, to += args.pixel_bytes) {
        const AugmentPixel place = augment_source(draw, args.augmentation.fill, args.h, args.w, row, column);
        std::memcpy(to, from + ((i * args.h + place.row) * args.w + place.column) * args.pixel_bytes,
                    static_cast<std::size_t>(args.pixel_bytes));
      }
  }
}

}  // namespace epitaxy
