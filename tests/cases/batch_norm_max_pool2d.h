// Cases of batch_norm_max_pool2d: the stem's window and others, odd sizes, channels off the vectors' width, more than one tile.
#pragma once

#include <array>

#include "epitaxy/ops/pool2d.h"

namespace epitaxy::test {

struct BatchNormMaxPool2dCase {
  std::int64_t n, h, w, c;
  Pool2dOptions pool;
};
inline const std::array<BatchNormMaxPool2dCase, 5> kBatchNormMaxPool2dCases{{
    {2, 8, 9, 16, {{3, 3}, {2, 2}, {1, 1, 1, 1}}},
    {1, 12, 13, 72, {{3, 3}, {2, 2}, {0, 1, 0, 1}}},
    {1, 7, 5, 5, {{3, 3}, {2, 2}, {1, 1, 1, 1}}},
    {2, 6, 6, 8, {{2, 2}, {2, 2}, {0, 0, 0, 0}}},
    {1, 5, 7, 3, {{2, 3}, {1, 2}, {1, 0, 2, 1}}},
}};

}  // namespace epitaxy::test
