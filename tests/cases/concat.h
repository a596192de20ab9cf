// Cases of concat: [rows, C1] and [rows, C2] around a 16-byte unit's and a block's edge.
#pragma once

#include <array>
#include <cstdint>

namespace epitaxy::test {

struct ConcatCase {
  std::int64_t rows, first, second;
};
inline constexpr std::array<ConcatCase, 6> kConcatCases{{{1, 1, 1}, {7, 3, 5}, {65, 8, 8}, {40, 16, 40}, {130, 2, 6}, {3, 64, 1000}}};

}  // namespace epitaxy::test
