// Images of each pixel type: one and many channels, sizes around a vector's edge, a table with more columns than a chunk.
#pragma once

#include <array>

#include "epitaxy/ops/convert_image.h"

namespace epitaxy::test {

struct ConvertImageCase {
  Shape shape;
};

inline const std::array<ConvertImageCase, 6> kConvertImageCases{{
    {{1, 1, 1, 1}},
    {{2, 5, 7, 1}},
    {{2, 16, 16, 1}},
    {{3, 9, 5, 3}},
    {{37, 13}},
    {{3, 300}},
}};
inline constexpr std::array<DType, 3> kPixelTypes{DType::uint8, DType::uint16, DType::fp32};

}  // namespace epitaxy::test
