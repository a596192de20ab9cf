// Sizes at the edges of a warp, of the CPU path's lanes and chunks, and of one sequence of one step.
#pragma once

#include <array>

#include "epitaxy/ops/sequence_pool.h"

namespace epitaxy::test {

inline const std::array<Shape, 6> kSequenceShapes{{{1, 1, 1}, {3, 5, 7}, {9, 32, 16}, {2, 33, 65}, {40, 3, 64}, {2, 70, 130}}};

}  // namespace epitaxy::test
