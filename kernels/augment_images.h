// Launcher of image augmentation.
#pragma once

#include "epitaxy/device.h"
#include "epitaxy/ops/augment_images.h"

namespace epitaxy {

struct AugmentImagesArgs {
  const void* from;  // [n, h, w] pixels of pixel_bytes
  void* to;
  const std::int64_t *seed, *epoch;  // [1]
  const std::int64_t* sample;        // [n]
  std::int64_t n, h, w, pixel_bytes;
  Augmentation augmentation;
};

template <class World>
void augment_images(const AugmentImagesArgs& args, Stream stream);

}  // namespace epitaxy
