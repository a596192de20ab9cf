// Row lengths on both sides of every path: 8 lanes (to 32), a warp (to 256 and to 1024), a block beyond.
#pragma once

#include <array>

#include "epitaxy/ops/softmax.h"

namespace epitaxy::test {

inline const std::array<Shape, 11> kSoftmaxShapes{{
    {1, 1},
    {5, 2},
    {3, 10},
    {33, 7},
    {2, 3, 32},
    {9, 33},
    {2, 256},
    {3, 257},
    {2, 1024},
    {2, 1025},
    {1, 3001},
}};

}  // namespace epitaxy::test
