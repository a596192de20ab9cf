// Augmentation of images: flips, 90-degree rotations, shifts. Every draw is a function of (seed, epoch, sample), never of a worker or
// device, and the pixels are moved, not computed: the same bits on the host (data/augment.h) and on a GPU.
#pragma once

#include <cstdint>

#include "epitaxy/ops/operation.h"
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

struct AugmentPixel {
  std::int64_t row, column;
};

/// Place along an axis of n that a shifted pixel comes from.
EPITAXY_HOST_DEVICE inline std::int64_t augment_shifted(std::int64_t at, int shift, std::int64_t n, ShiftFill fill) {
  const std::int64_t from = at - shift;
  if (fill == ShiftFill::edge) return from < 0 ? 0 : from < n ? from : n - 1;
  const std::int64_t wrapped = from % n;
  return wrapped < 0 ? wrapped + n : wrapped;
}

/// Where the pixel (row, column) of the result comes from in an image of height x width, followed back: shift, then turns, then flips.
EPITAXY_HOST_DEVICE inline AugmentPixel augment_source(const AugmentDraw& draw, ShiftFill fill, std::int64_t height, std::int64_t width,
                                                       std::int64_t row, std::int64_t column) {
  const std::int64_t y = augment_shifted(row, draw.down, height, fill), x = augment_shifted(column, draw.right, width, fill);
  AugmentPixel from{y, x};
  switch (draw.quarter_turns & 3) {
    case 1: from = {x, height - 1 - y}; break;  // counter-clockwise: the right column becomes the top row
    case 2: from = {height - 1 - y, width - 1 - x}; break;
    case 3: from = {height - 1 - x, y}; break;
    default: break;
  }
  if (draw.flip_vertical) from.row = height - 1 - from.row;
  if (draw.flip_horizontal) from.column = width - 1 - from.column;
  return from;
}

/// (images uint8, uint16 or fp32 [N,H,W,C], seed int64 [1], epoch int64 [1], sample int64 [N]) -> the augmented images: image i is drawn
/// by (seed, epoch, sample[i]), the seed's 64 bits and the epoch's lower 32. All are read on the device, so that a recorded graph of the
/// step draws anew each time it is replayed. No gradient.
OperationPtr augment_images(const Augmentation& augmentation);

}  // namespace epitaxy
