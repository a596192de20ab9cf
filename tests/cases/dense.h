// Cases of the dense layer: rows, features, outputs around vectors, with single columns and odd leading dimensions.
#pragma once

#include <array>
#include <cstdint>

namespace epitaxy::test {

struct DenseCase {
  std::int64_t rows, features, outputs;
};
inline constexpr std::array<DenseCase, 8> kDenseCases{
    {{1, 1, 1}, {2, 3, 1}, {32, 17, 10}, {5, 64, 64}, {33, 9, 24}, {3, 257, 5}, {64, 7, 130}, {300, 16, 16}}};

}  // namespace epitaxy::test
