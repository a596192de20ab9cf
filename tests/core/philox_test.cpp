// Philox against the published known answers, and the sequential generator's distributions.
#include "epitaxy/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace epitaxy {
namespace {

void expect_words(Philox4 got, std::array<std::uint32_t, 4> want) {
  EXPECT_EQ(got.x, want[0]);
  EXPECT_EQ(got.y, want[1]);
  EXPECT_EQ(got.z, want[2]);
  EXPECT_EQ(got.w, want[3]);
}

// kat_vectors of the Random123 distribution, philox4x32-10.
TEST(Philox, KnownAnswers) {
  expect_words(philox({0, 0, 0, 0}, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t ones = 0xffffffff;
  expect_words(philox({ones, ones, ones, ones}, ones, ones), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect_words(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(Philox, CounterLayout) {
  const Philox4 want = philox({0x55667788, 0x11223344, (7u << 8) | 2u, 9}, 0xccddeeff, 0x8899aabb);
  expect_words(philox(0x8899aabbccddeeffull, 0x1122334455667788ull, 7, RandomPurpose::dropout, 9), {want.x, want.y, want.z, want.w});
}

TEST(Philox, UniformIsBelowOneAndExact) {
  EXPECT_EQ(uniform(0u), 0.0f);
  EXPECT_EQ(uniform(0xffu), 0.0f);
  EXPECT_EQ(uniform(0x80000000u), 0.5f);
  EXPECT_EQ(uniform(0xffffffffu), 1.0f - 0x1p-24f);
}

TEST(Philox, ShuffleKeysDifferByItemAndEpoch) {
  std::set<std::uint64_t> keys;
  for (std::uint32_t epoch = 0; epoch < 4; ++epoch)
    for (std::uint64_t item = 0; item < 1000; ++item) keys.insert(shuffle_key(3, epoch, item));
  EXPECT_EQ(keys.size(), 4000u);
  EXPECT_EQ(shuffle_key(3, 1, 5), shuffle_key(3, 1, 5));
}

TEST(Random, FollowsItsStream) {
  Random random(42, RandomPurpose::test, 3, 5);
  const Philox4 first = philox(42, 0, 3, RandomPurpose::test, 5), second = philox(42, 1, 3, RandomPurpose::test, 5);
  for (const std::uint32_t want : {first.x, first.y, first.z, first.w, second.x, second.y}) EXPECT_EQ(random.bits(), want);
}

TEST(Random, PurposesDoNotShareNumbers) {
  Random a(1, RandomPurpose::weights), b(1, RandomPurpose::shuffle);
  int equal = 0;
  for (int i = 0; i < 1000; ++i) equal += a.bits() == b.bits();
  EXPECT_EQ(equal, 0);
}

/// Mean and variance of `draw` over many draws, within five standard errors of what is expected.
template <class Draw>
void expect_moments(Draw&& draw, double mean, double variance, double fourth) {
  constexpr int kCount = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double d = static_cast<double>(draw()) - mean;
    sum += d, squares += d * d;
  }
  EXPECT_NEAR(sum / kCount, 0, 5 * std::sqrt(variance / kCount)) << "mean " << mean;
  EXPECT_NEAR(squares / kCount, variance, 5 * std::sqrt((fourth - variance * variance) / kCount)) << "mean " << mean;
}

TEST(Random, Moments) {
  Random random(7, RandomPurpose::test);
  expect_moments([&] { return random.uniform(); }, 0.5, 1.0 / 12, 1.0 / 80);
  expect_moments([&] { return random.normal(); }, 0, 1, 3);
  for (const double mean : {0.1, 1.0, 5.0, 29.9, 30.1, 100.0, 5000.0})  // a Poisson's fourth central moment: m + 3 m^2
    expect_moments([&] { return random.poisson(mean); }, mean, mean, mean + 3 * mean * mean);
  EXPECT_EQ(random.poisson(0), 0);
}

TEST(Random, NormalTails) {
  Random random(8, RandomPurpose::test);
  constexpr int kCount = 200000;
  int beyond[3] = {};
  for (int i = 0; i < kCount; ++i) {
    const double x = std::fabs(random.normal());
    for (int k = 0; k < 3; ++k) beyond[k] += x > k + 1;
  }
  for (int k = 0; k < 3; ++k) {
    const double p = std::erfc((k + 1) / std::sqrt(2.0));
    EXPECT_NEAR(beyond[k], kCount * p, 5 * std::sqrt(kCount * p)) << "beyond " << k + 1 << " sigma";
  }
}

TEST(Random, BelowIsUniform) {
  Random random(9, RandomPurpose::test);
  std::map<std::uint64_t, int> counts;
  for (int i = 0; i < 70000; ++i) ++counts[random.below(7)];
  ASSERT_EQ(counts.size(), 7u);
  for (const auto& [value, count] : counts) EXPECT_NEAR(count, 10000, 500) << value;
  EXPECT_EQ(random.below(1), 0u);
  const std::uint64_t large = std::uint64_t{1} << 63;
  EXPECT_LT(random.below(large), large);
}

TEST(Random, ShuffleIsASeededPermutation) {
  std::vector<int> a(100), b(100);
  std::iota(a.begin(), a.end(), 0), std::iota(b.begin(), b.end(), 0);
  Random first(5, RandomPurpose::shuffle), second(5, RandomPurpose::shuffle);
  first.shuffle(a), second.shuffle(b);
  EXPECT_EQ(a, b);
  EXPECT_FALSE(std::is_sorted(a.begin(), a.end()));
  std::sort(a.begin(), a.end());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a[static_cast<std::size_t>(i)], i);
}

}  // namespace
}  // namespace epitaxy
