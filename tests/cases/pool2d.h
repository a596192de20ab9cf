// Pooling shapes: disjoint and overlapping windows, gaps, uneven padding, rows and columns left over, channels on and off a vector.
#pragma once

#include <array>

#include "epitaxy/ops/pool2d.h"

namespace epitaxy::test {

struct PoolCase {
  Shape x;
  Pool2dOptions options;
};

inline const std::array<PoolCase, 10> kPoolCases{{
    {{2, 4, 6, 8}, {}},                                  // 2x2, wide channels
    {{1, 5, 7, 3}, {}},                                  // a row and a column left over
    {{2, 7, 5, 16}, {{3, 3}, {2, 2}, {1, 1, 1, 1}}},     // ResNet's stem
    {{1, 6, 6, 5}, {{3, 3}, {1, 1}, {1, 1, 1, 1}}},      // every pixel in nine windows
    {{1, 9, 8, 8}, {{2, 2}, {3, 3}, {0, 1, 1, 0}}},      // gaps
    {{2, 5, 4, 1}, {{3, 2}, {2, 1}, {2, 0, 0, 1}}},      // uneven padding
    {{1, 16, 16, 1}, {{16, 16}, {1, 1}, {0, 0, 0, 0}}},  // the largest window: 256 taps
    {{1, 1, 1, 70}, {{1, 1}, {1, 1}, {0, 0, 0, 0}}},     // more channels than a chunk
    {{3, 4, 4, 66}, {{2, 2}, {2, 2}, {1, 0, 1, 0}}},
    {{1, 3, 300, 4}, {{3, 2}, {1, 2}, {1, 1, 0, 0}}},  // several blocks
}};

}  // namespace epitaxy::test
