// Sizes around a Philox block, a thread's share and a block of threads; rates from none to nearly all.
#pragma once

#include <array>

#include "epitaxy/ops/dropout.h"

namespace epitaxy::test {

inline constexpr std::array<std::int64_t, 7> kDropoutSizes{1, 3, 4, 9, 255, 257, 2051};
inline constexpr std::array<float, 4> kDropoutRates{0.0f, 0.1f, 0.5f, 0.9f};

}  // namespace epitaxy::test
