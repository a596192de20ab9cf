// The memory planner: no overlap in space and time, reuse, alignment.
#include <gtest/gtest.h>

#include "epitaxy/philox.h"
#include "epitaxy/plan/plan.h"

namespace epitaxy {
namespace {

TEST(Place, ReusesDeadMemory) {
  const Lifetime chain[] = {{1000, 0, 1}, {1000, 1, 2}, {1000, 2, 3}, {1000, 3, 4}};
  std::size_t total = 0;
  place(chain, total);
  EXPECT_EQ(total, 2048u);
}

TEST(Place, FillsGaps) {
  const Lifetime blocks[] = {{4096, 0, 9}, {2048, 0, 4}, {1024, 0, 9}, {512, 5, 9}};
  std::size_t total = 0;
  const auto offsets = place(blocks, total);
  EXPECT_EQ(total, 4096u + 2048 + 1024);
  EXPECT_EQ(offsets[3], 4096u);
}

TEST(Place, RandomBlocksNeverOverlap) {
  Random random(5, RandomPurpose::test);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::vector<Lifetime> blocks;
    for (int i = 0; i < 60; ++i) {
      const int first = static_cast<int>(random.below(40));
      blocks.push_back({random.below(5000), first, first + static_cast<int>(random.below(10))});
    }
    std::size_t total = 0, sum = 0;
    const auto offsets = place(blocks, total);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      EXPECT_EQ(offsets[i] % 256, 0u);
      EXPECT_LE(offsets[i] + blocks[i].bytes, total);
      sum += blocks[i].bytes + 255;
      for (std::size_t j = 0; j < i; ++j) {
        const bool together = blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last;
        const bool apart = offsets[i] + blocks[i].bytes <= offsets[j] || offsets[j] + blocks[j].bytes <= offsets[i];
        EXPECT_TRUE(!together || apart || blocks[i].bytes == 0 || blocks[j].bytes == 0);
      }
    }
    EXPECT_LE(total, sum);
  }
}

}  // namespace
}  // namespace epitaxy
