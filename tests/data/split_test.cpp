// Splits: proportions, groups, reproducibility.
#include "epitaxy/data/split.h"

#include <algorithm>
#include <set>

#include "files.h"

namespace epitaxy::test {

std::vector<std::int32_t> strata_of(std::initializer_list<int> sizes) {
  std::vector<std::int32_t> strata;
  std::int32_t stratum = 0;
  for (const int size : sizes) strata.insert(strata.end(), static_cast<std::size_t>(size), stratum++);
  return strata;
}

std::vector<std::int64_t> held_per_stratum(const Split& split, const std::vector<std::int32_t>& strata) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(1 + *std::max_element(strata.begin(), strata.end())));
  for (const auto item : split.held_out) ++counts[static_cast<std::size_t>(strata[static_cast<std::size_t>(item)])];
  return counts;
}

TEST(Split, IsStratifiedAndComplete) {
  const auto strata = strata_of({240, 240, 100, 20});
  const Split split = split_items(strata, {}, 0.1, 1, SplitPurpose::validation);
  EXPECT_EQ(held_per_stratum(split, strata), (std::vector<std::int64_t>{24, 24, 10, 2}));
  std::set<std::int64_t> all(split.kept.begin(), split.kept.end());
  all.insert(split.held_out.begin(), split.held_out.end());
  EXPECT_EQ(all.size(), strata.size());
  EXPECT_EQ(split.kept.size() + split.held_out.size(), strata.size());
  EXPECT_TRUE(std::is_sorted(split.kept.begin(), split.kept.end()) && std::is_sorted(split.held_out.begin(), split.held_out.end()));
}

TEST(Split, RemaindersMakeUpTheTotal) {
  const auto strata = strata_of({7, 7, 7, 7});  // 0.7 each, 2.8 in all
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Split split = split_items(strata, {}, 0.1, seed, SplitPurpose::validation);
    EXPECT_EQ(split.held_out.size(), 3u);
    for (const auto count : held_per_stratum(split, strata)) EXPECT_LE(count, 1);
  }
}

TEST(Split, DependsOnSeedAndPurposeAlone) {
  const auto strata = strata_of({100, 100});
  const Split one = split_items(strata, {}, 0.2, 5, SplitPurpose::test);
  EXPECT_EQ(one.held_out, split_items(strata, {}, 0.2, 5, SplitPurpose::test).held_out);
  EXPECT_NE(one.held_out, split_items(strata, {}, 0.2, 6, SplitPurpose::test).held_out);
  EXPECT_NE(one.held_out, split_items(strata, {}, 0.2, 5, SplitPurpose::validation).held_out);
}

TEST(Split, EveryItemIsChosenAboutEquallyOften) {
  const auto strata = strata_of({20, 20});
  std::vector<int> chosen(40);
  for (std::uint64_t seed = 0; seed < 2000; ++seed)
    for (const auto item : split_items(strata, {}, 0.25, seed, SplitPurpose::test).held_out) ++chosen[static_cast<std::size_t>(item)];
  for (const int count : chosen) EXPECT_NEAR(count, 500, 100);  // five standard deviations of 19.4
}

TEST(Split, GroupsStayOnOneSide) {
  std::vector<std::int32_t> strata;
  std::vector<std::string> groups;
  for (int group = 0; group < 40; ++group)
    for (int i = 0; i < 3 + group % 5; ++i) {
      strata.push_back(group % 2);
      groups.push_back("specimen " + std::to_string(group));
    }
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Split split = split_items(strata, groups, 0.2, seed, SplitPurpose::test);
    std::set<std::string> kept, held;
    for (const auto item : split.kept) kept.insert(groups[static_cast<std::size_t>(item)]);
    for (const auto item : split.held_out) held.insert(groups[static_cast<std::size_t>(item)]);
    EXPECT_EQ(kept.size() + held.size(), 40u);
    EXPECT_NEAR(static_cast<double>(split.held_out.size()), 0.2 * 200, 7);
    for (const auto count : held_per_stratum(split, strata)) EXPECT_NEAR(static_cast<double>(count), 20, 5);
  }
}

TEST(Split, OneGroupAtLeastOnEachSide) {
  const std::vector<std::int32_t> strata(10, 0);
  std::vector<std::string> groups(10, "large");
  groups[9] = "small";
  const Split split = split_items(strata, groups, 0.1, 1, SplitPurpose::test);
  EXPECT_EQ(split.held_out, (std::vector<std::int64_t>{9}));
  groups[9] = "large";
  EXPECT_TRUE(mentions(error_of([&] { split_items(strata, groups, 0.1, 1, SplitPurpose::test); }, Fault::usage), {"one group"}));
}

TEST(Split, RejectsWhatLeavesAPartEmpty) {
  EXPECT_TRUE(mentions(error_of([] { split_items(strata_of({3}), {}, 0.1, 1, SplitPurpose::validation); }, Fault::usage),
                       {"validation", "3 items"}));
  EXPECT_TRUE(mentions(error_of([] { split_items(strata_of({3}), {}, 1.0, 1, SplitPurpose::validation); }, Fault::usage), {"[0, 1)"}));
  EXPECT_TRUE(split_items(strata_of({3}), {}, 0, 1, SplitPurpose::validation).held_out.empty());
}

TEST(Split, TailFollowsKeras) {
  const Split split = split_tail(60000, 0.2);
  EXPECT_EQ(split.kept.size(), 48000u);
  EXPECT_EQ(split.held_out.front(), 48000);
  EXPECT_EQ(split.held_out.back(), 59999);
  EXPECT_EQ(split_tail(11, 0.1).kept.size(), 9u);  // int(11 * 0.9)
}

TEST(Split, ValueStrataAreTenths) {
  std::vector<float> values;
  for (int i = 0; i < 100; ++i) values.push_back(static_cast<float>((i * 37) % 100));
  const auto strata = value_strata(values);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(strata[i], static_cast<std::int32_t>(values[i]) / 10);
}

}  // namespace epitaxy::test
