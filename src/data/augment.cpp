#include "epitaxy/data/augment.h"

#include <algorithm>
#include <cstring>

namespace epitaxy {

void apply_augmentation(const AugmentDraw& draw, ShiftFill fill, const Tensor& from, const Tensor& to) {
  const std::int64_t height = from.dim(0), width = from.dim(1);
  const std::size_t pixel_bytes = static_cast<std::size_t>(from.dim(2)) * size_of(from.dtype());
  require(from.spec() == to.spec(), "augmentation: from ", from.spec(), " to ", to.spec());
  require(draw.quarter_turns % 2 == 0 || height == width, "augmentation: a quarter turn of ", from.spec(), ", which is not square");
  const auto* source = static_cast<const std::byte*>(from.data());
  auto* target = static_cast<std::byte*>(to.data());
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x, target += pixel_bytes) {
      const AugmentPixel place = augment_source(draw, fill, height, width, y, x);
      std::memcpy(target, source + static_cast<std::size_t>(place.row * width + place.column) * pixel_bytes, pixel_bytes);
    }
}

void check_augmentation(const Augmentation& augmentation, const Dataset& data, bool targets_invariant) {
  require(augmentation.shift >= 0 && augmentation.shift <= 4096, "augmentation: a shift of ", augmentation.shift,
          " pixels is outside 0..4096");
  if (!augmentation.any()) return;
  require(data.inputs.shape().rank() == 4, "augmentation is for images; '", data.source, "' has items ", data.inputs.shape().tail());
  const std::int64_t height = data.inputs.dim(1), width = data.inputs.dim(2);
  require(!augmentation.rotate || height == width, "augmentation: rotation needs square images, '", data.source, "' has ", width, " x ",
          height);
  require(augmentation.shift < std::min(height, width), "augmentation: a shift of ", augmentation.shift, " pixels moves images of ", width,
          " x ", height, " out of sight");
  require(
      data.task == Task::classification || targets_invariant,
      "augmentation could change the targets of a regression (a direction, an orientation, a position); declare the targets invariant if "
      "flips, rotations and shifts leave them as they are");
}

double draw_stretch(double most, std::uint64_t seed, std::uint32_t epoch, std::uint64_t item) {
  return 1 + most * (2.0 * uniform(philox(seed, item, 1, RandomPurpose::augment, epoch).x) - 1);
}

void stretch(double factor, const Tensor& from, const Tensor& to) {
  require(from.spec() == to.spec() && factor > 0, "stretch: from ", from.spec(), " to ", to.spec(), " by ", factor);
  const std::int64_t steps = from.dim(0), channels = from.dim(1);
  const float* const x = from.as<float>();
  float* y = to.as<float>();
  for (std::int64_t t = 0; t < steps; ++t, y += channels) {
    const double place = static_cast<double>(t) / factor;
    const auto before = static_cast<std::int64_t>(place);
    const auto share = static_cast<float>(place - static_cast<double>(before));
    for (std::int64_t c = 0; c < channels; ++c) {
      const float low = before < steps ? x[before * channels + c] : 0.0f;
      const float high = before + 1 < steps ? x[(before + 1) * channels + c] : 0.0f;
      y[c] = low + share * (high - low);
    }
  }
}

void check_stretch(double most, const Dataset& data, bool targets_invariant) {
  require(most >= 0 && most <= 0.5, "augmentation: a stretch of ", most, " is outside 0..0.5");
  if (most == 0) return;
  require(data.inputs.shape().rank() == 3 && data.inputs.dtype() == DType::fp32 && !data.lengths,
          "augmentation: only sequences of one length are stretched; '", data.source, "' has items ", data.inputs.shape().tail(),
          data.lengths ? " of several lengths" : "");
  require(data.task == Task::classification || targets_invariant,
          "augmentation could change the targets of a regression; declare the targets invariant if a stretch leaves them as they are");
}

}  // namespace epitaxy
