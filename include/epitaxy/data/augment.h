// Augmentation of images: flips, 90-degree rotations, shifts. Every draw is a function of (seed, epoch, sample), never of a worker or
// device.
#pragma once

#include <cstdint>
#include <string_view>

#include "epitaxy/data/dataset.h"
#include "epitaxy/philox.h"

namespace epitaxy {

enum class ShiftFill : std::uint8_t { edge, wrap };  // what a shift uncovers: the border pixel repeated, or the other side (periodic)

/// Off by default.
struct Augmentation {
  bool flip_horizontal = false;  // left <-> right, with probability 1/2
  bool flip_vertical = false;    // top <-> bottom, with probability 1/2
  bool rotate = false;           // by 0, 90, 180 or 270 degrees; square images only
  int shift = 0;                 // by -shift..shift pixels along each axis; 0..4096
  ShiftFill fill = ShiftFill::edge;
  bool any() const { return flip_horizontal || flip_vertical || rotate || shift > 0; }
};

/// What happens to one image, in this order: flips, then counter-clockwise quarter turns, then the shift (right, down).
struct AugmentDraw {
  bool flip_horizontal = false, flip_vertical = false;
  int quarter_turns = 0;
  int right = 0, down = 0;
};

/// Philox block = sample, step = epoch: bits 0, 1 and 2-3 of x are flips and turns; y and z scaled to [0, 2 shift] are the shift.
EPITAXY_HOST_DEVICE inline AugmentDraw draw_augmentation(const Augmentation& augmentation, std::uint64_t seed, std::uint32_t epoch,
                                                         std::uint64_t sample) {
  const Philox4 bits = philox(seed, sample, 0, RandomPurpose::augment, epoch);
  const std::uint64_t places = 2 * static_cast<std::uint64_t>(augmentation.shift) + 1;
  AugmentDraw draw;
  draw.flip_horizontal = augmentation.flip_horizontal && (bits.x & 1u);
  draw.flip_vertical = augmentation.flip_vertical && (bits.x & 2u);
  draw.quarter_turns = augmentation.rotate ? static_cast<int>((bits.x >> 2) & 3u) : 0;
  draw.right = static_cast<int>((bits.y * places) >> 32) - augmentation.shift;
  draw.down = static_cast<int>((bits.z * places) >> 32) - augmentation.shift;
  return draw;
}

/// Writes the augmented image: from and to are [H, W, C] of one dtype, not overlapping; H = W where turned by 90 or 270 degrees.
void apply_augmentation(const AugmentDraw& draw, ShiftFill fill, const Tensor& from, const Tensor& to);

/// Rejects an augmentation that cannot be done (tables, rotation of images that are not square, a shift of the whole image) or that would
/// change a target: a regression's value may be a direction, an orientation or a position, so every augmentation is refused there unless
/// the user declares the targets invariant. Labels of a classification are taken to be invariant under what the user switches on.
void check_augmentation(const Augmentation& augmentation, const Dataset& data, bool targets_invariant = false);

}  // namespace epitaxy
