// Every pair of floating types.
#pragma once

#include <array>

#include "epitaxy/ops/cast.h"

namespace epitaxy::test {

inline constexpr std::array<DType, 3> kCastTypes{DType::fp32, DType::bf16, DType::fp16};
inline constexpr std::array<std::int64_t, 4> kCastSizes{1, 8, 2047, 2049};

}  // namespace epitaxy::test
