// Loss shapes: a vector's, a block's and the partial sums' edges; class counts on both sides of 32 (a row to a thread
// or to a warp) and of 128 (the CPU's blocks).
#pragma once

#include <array>

#include "epitaxy/ops/loss.h"

namespace epitaxy::test {

inline constexpr std::array<RegressionLoss, 3> kRegressionLosses{RegressionLoss::mean_squared_error, RegressionLoss::mean_absolute_error,
                                                                 RegressionLoss::huber};
inline const std::array<Shape, 6> kRegressionShapes{{{1, 1}, {32, 1}, {7, 3}, {1, 1023}, {5, 1025}, {3, 50, 2}}};

struct ClassCase {
  std::int64_t rows, classes;
};
inline constexpr std::array<ClassCase, 10> kClassCases{
    {{1, 2}, {64, 10}, {300, 3}, {33, 4}, {40, 5}, {9, 64}, {9, 129}, {3, 1000}, {2, 1}, {2100, 9}}};

/// Pixel-wise logits: tiles of 256, 512 and 1024 pixels, odd and even class counts, and so many pixels that a launch of its own weighs
/// them.
inline const std::array<Shape, 5> kPixelShapes{{{2, 3, 5, 4}, {1, 33, 32, 2}, {1, 20, 26, 7}, {3, 10, 9, 32}, {2, 40, 52, 3}}};

}  // namespace epitaxy::test
