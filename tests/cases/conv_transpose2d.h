// Cases of conv_transpose2d: x [n, h, w, c], kernel = stride [r, s], k output channels, around tiles' and vectors' edges.
#pragma once

#include <array>
#include <cstdint>

namespace epitaxy::test {

struct ConvTranspose2dCase {
  std::int64_t n, h, w, c, r, s, k;
};
inline constexpr std::array<ConvTranspose2dCase, 6> kConvTranspose2dCases{{{1, 1, 1, 1, 2, 2, 1},
                                                                           {2, 5, 6, 16, 2, 2, 8},
                                                                           {1, 4, 3, 5, 3, 2, 7},
                                                                           {1, 9, 8, 72, 2, 2, 24},
                                                                           {1, 3, 3, 8, 1, 1, 8},
                                                                           {1, 9, 9, 1, 2, 2, 264}}};

}  // namespace epitaxy::test
