// Loss shapes: a vector's, a block's and the partial sums' edges; class counts on both sides of 1, 8 and 32 lanes a row.
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
    {{1, 2}, {64, 10}, {300, 3}, {33, 4}, {40, 5}, {9, 64}, {9, 65}, {3, 1000}, {2, 1}, {2100, 9}}};

}  // namespace epitaxy::test
