// Sizes of elementwise operations: around a vector's and a block's edge.
#pragma once

#include <array>

#include "epitaxy/dtype.h"
#include "epitaxy/ops/add.h"

namespace epitaxy::test {

inline constexpr std::array<std::int64_t, 8> kAddSizes{0, 1, 7, 8, 9, 1023, 2048, 2049};
inline constexpr std::array<DType, 3> kAddTypes{DType::fp32, DType::bf16, DType::fp16};

}  // namespace epitaxy::test
