// Cases of augment_images: square and not, pixels of 1 to 12 bytes, more pixels than a block takes.
#pragma once

#include <array>

#include "epitaxy/ops/augment_images.h"

namespace epitaxy::test {

struct AugmentImagesCase {
  TensorSpec images;
  Augmentation augmentation;
};
inline const std::array<AugmentImagesCase, 6> kAugmentImagesCases{{
    {{DType::uint8, {9, 5, 5, 1}}, {true, true, true, 2, ShiftFill::edge}},
    {{DType::uint8, {3, 33, 33, 1}}, {true, true, true, 30, ShiftFill::wrap}},
    {{DType::uint16, {4, 6, 9, 1}}, {true, true, false, 3, ShiftFill::edge}},
    {{DType::uint8, {4, 8, 8, 3}}, {true, false, true, 0, ShiftFill::edge}},
    {{DType::fp32, {5, 7, 7, 1}}, {false, true, true, 6, ShiftFill::wrap}},
    {{DType::fp32, {2, 4, 3, 3}}, {true, true, false, 1, ShiftFill::wrap}},
}};

}  // namespace epitaxy::test
