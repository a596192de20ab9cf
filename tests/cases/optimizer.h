// Sizes of the flat arrays that optimizers step over: around a thread's vector, a block's and a chunk's edge.
#pragma once

#include <array>
#include <cstdint>

namespace epitaxy::test {

inline constexpr std::array<std::int64_t, 7> kOptimizerSizes{1, 3, 4, 5, 1023, 1024, 1029};

}  // namespace epitaxy::test
