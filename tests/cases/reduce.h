// Cases of the reductions: [pixels, channels] around a vector's, a tile's and a chunk's edge.
#pragma once

#include <array>
#include <cstdint>

namespace epitaxy::test {

struct PixelCase {
  std::int64_t pixels, channels;
};
inline constexpr std::array<PixelCase, 10> kPixelCases{
    {{1, 1}, {3, 8}, {127, 5}, {128, 16}, {129, 12}, {300, 3}, {257, 24}, {40, 257}, {17, 264}, {2, 520}}};

}  // namespace epitaxy::test
