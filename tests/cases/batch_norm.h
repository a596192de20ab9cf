// Cases of batch normalisation: [pixels, channels] around a vector's, a tile's and a chunk's edge, and several pixels to a thread; mean and
// spread of the values.
#pragma once

#include <array>
#include <cstdint>

namespace epitaxy::test {

struct BatchNormCase {
  std::int64_t pixels, channels;
  double mean = 0.3, sigma = 1.7;
};
/// The last two cancel: the variance is 1e-6 to 1e-8 of the squared mean (fp32 only: a 16-bit type cannot hold such values).
inline constexpr std::array<BatchNormCase, 11> kBatchNormCases{
    {{3, 1}, {5, 8}, {128, 16}, {129, 5}, {131, 24}, {300, 3}, {40, 257}, {17, 264}, {300, 264}, {300, 8, 1000, 1}, {260, 5, 4096, 0.5}}};

}  // namespace epitaxy::test
