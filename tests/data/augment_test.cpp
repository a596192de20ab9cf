// Augmentation: values of each step, draws that depend on (seed, epoch, sample) alone, refusals.
#include "epitaxy/data/augment.h"

#include <algorithm>
#include <cmath>

#include "files.h"

namespace epitaxy::test {

/// Values 1.. of a [height, width, channels] image, augmented.
std::vector<std::uint16_t> augmented(const AugmentDraw& draw, Shape shape, ShiftFill fill = ShiftFill::edge) {
  Tensor from(cpu_backend(), {DType::uint16, shape}), to(cpu_backend(), {DType::uint16, shape});
  for (std::int64_t i = 0; i < from.count(); ++i) from.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(i + 1);
  apply_augmentation(draw, fill, from, to);
  return values_of<std::uint16_t>(to);
}

using Values = std::vector<std::uint16_t>;

TEST(Augment, FlipsTurnsAndShifts) {
  const Shape shape{2, 3, 1};  // 1 2 3 / 4 5 6
  EXPECT_EQ(augmented({}, shape), (Values{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(augmented({.flip_horizontal = true}, shape), (Values{3, 2, 1, 6, 5, 4}));
  EXPECT_EQ(augmented({.flip_vertical = true}, shape), (Values{4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(augmented({.quarter_turns = 2}, shape), (Values{6, 5, 4, 3, 2, 1}));
  EXPECT_EQ(augmented({.quarter_turns = 1}, {2, 2, 1}), (Values{2, 4, 1, 3})) << "counter-clockwise";
  EXPECT_EQ(augmented({.quarter_turns = 3}, {2, 2, 1}), (Values{3, 1, 4, 2}));
  EXPECT_EQ(augmented({.right = 1}, shape), (Values{1, 1, 2, 4, 4, 5})) << "the border is repeated";
  EXPECT_EQ(augmented({.right = 1}, shape, ShiftFill::wrap), (Values{3, 1, 2, 6, 4, 5}));
  EXPECT_EQ(augmented({.right = -2, .down = 1}, shape), (Values{3, 3, 3, 3, 3, 3}));
  EXPECT_EQ(augmented({.right = -2, .down = 1}, shape, ShiftFill::wrap), (Values{6, 4, 5, 3, 1, 2}));
}

TEST(Augment, StepsComposeInTheStatedOrder) {
  // flips, then turn, then shift: 1 2 / 3 4 -> flipped 2 1 / 4 3 -> turned 1 3 / 2 4 -> shifted down (wrap) 2 4 / 1 3
  EXPECT_EQ(augmented({.flip_horizontal = true, .quarter_turns = 1, .down = 1}, {2, 2, 1}, ShiftFill::wrap), (Values{2, 4, 1, 3}));
}

TEST(Augment, ChannelsStayTogether) { EXPECT_EQ(augmented({.flip_horizontal = true}, {1, 2, 3}), (Values{4, 5, 6, 1, 2, 3})); }

TEST(Augment, DrawsAreAFunctionOfSeedEpochAndSample) {
  const Augmentation all{.flip_horizontal = true, .flip_vertical = true, .rotate = true, .shift = 3};
  const AugmentDraw one = draw_augmentation(all, 1, 2, 3), same = draw_augmentation(all, 1, 2, 3);
  EXPECT_TRUE(one.flip_horizontal == same.flip_horizontal && one.quarter_turns == same.quarter_turns && one.right == same.right);
  int horizontal = 0, vertical = 0, differ = 0;
  std::vector<int> turns(4), right(7), down(7);
  constexpr int kDraws = 7000;
  for (int sample = 0; sample < kDraws; ++sample) {
    const AugmentDraw draw = draw_augmentation(all, 1, 0, static_cast<std::uint64_t>(sample));
    const AugmentDraw later = draw_augmentation(all, 1, 1, static_cast<std::uint64_t>(sample));
    horizontal += draw.flip_horizontal;
    vertical += draw.flip_vertical;
    ++turns[static_cast<std::size_t>(draw.quarter_turns)];
    ++right.at(static_cast<std::size_t>(draw.right + 3));
    ++down.at(static_cast<std::size_t>(draw.down + 3));
    differ += draw.right != later.right || draw.quarter_turns != later.quarter_turns;
  }
  EXPECT_NEAR(horizontal, kDraws / 2, 210);
  EXPECT_NEAR(vertical, kDraws / 2, 210);
  for (const int count : turns) EXPECT_NEAR(count, kDraws / 4, 185);
  for (const int count : right) EXPECT_NEAR(count, 1000, 150);
  for (const int count : down) EXPECT_NEAR(count, 1000, 150);
  EXPECT_GT(differ, kDraws * 9 / 10);
  const AugmentDraw none = draw_augmentation({}, 1, 2, 3);
  EXPECT_TRUE(!none.flip_horizontal && !none.flip_vertical && none.quarter_turns == 0 && none.right == 0 && none.down == 0);
}

TEST(Augment, IsRefusedWhereItWouldChangeATarget) {
  Dataset data;
  data.inputs = Tensor(cpu_backend(), {DType::uint8, {2, 8, 8, 1}});
  data.source = "patterns";
  const Augmentation flip{.flip_horizontal = true}, turn{.rotate = true}, shift{.shift = 2};
  for (const auto& one : {flip, turn, shift}) EXPECT_NO_THROW(check_augmentation(one, data));
  data.task = Task::regression;
  for (const auto& one : {flip, turn, shift}) {
    EXPECT_TRUE(mentions(error_of([&] { check_augmentation(one, data); }, Fault::usage), {"targets"}));
    EXPECT_NO_THROW(check_augmentation(one, data, true));
  }
  EXPECT_NO_THROW(check_augmentation({}, data));
  data.inputs = Tensor(cpu_backend(), {DType::uint8, {2, 8, 6, 1}});
  EXPECT_TRUE(mentions(error_of([&] { check_augmentation(turn, data, true); }, Fault::usage), {"square", "6 x 8"}));
  EXPECT_TRUE(mentions(error_of([&] { check_augmentation({.shift = 6}, data, true); }, Fault::usage), {"shift of 6"}));
  EXPECT_TRUE(mentions(error_of([&] { check_augmentation({.shift = -1}, data, true); }, Fault::usage), {"-1"}));
  data.inputs = Tensor(cpu_backend(), {DType::fp32, {2, 8}});
  EXPECT_TRUE(mentions(error_of([&] { check_augmentation(flip, data, true); }, Fault::usage), {"images"}));
}

TEST(Augment, StretchesSequencesBetweenTheirSteps) {
  const auto stretched = [](double factor) {
    Tensor from(cpu_backend(), {DType::fp32, {4, 2}}), to(cpu_backend(), {DType::fp32, {4, 2}});
    const float values[] = {1, 10, 3, 30, 5, 50, 9, 90};
    std::copy(std::begin(values), std::end(values), from.as<float>());
    stretch(factor, from, to);
    return values_of<float>(to);
  };
  EXPECT_EQ(stretched(1), (std::vector<float>{1, 10, 3, 30, 5, 50, 9, 90}));
  EXPECT_EQ(stretched(2), (std::vector<float>{1, 10, 2, 20, 3, 30, 4, 40}));
  EXPECT_EQ(stretched(0.5), (std::vector<float>{1, 10, 5, 50, 0, 0, 0, 0})) << "zero beyond the last step";
  EXPECT_EQ(stretched(0.8), (std::vector<float>{1, 10, 3.5f, 35, 7, 70, 2.25f, 22.5f}));
}

TEST(Augment, StretchesAreDrawnEvenlyAndRefusedWhereTheyMakeNoSense) {
  double low = 2, high = 0, sum = 0;
  for (std::uint64_t item = 0; item < 2000; ++item) {
    const double factor = draw_stretch(0.25, 1, 3, item);
    EXPECT_EQ(factor, draw_stretch(0.25, 1, 3, item));
    low = std::min(low, factor), high = std::max(high, factor), sum += factor;
  }
  EXPECT_GE(low, 0.75);
  EXPECT_LT(low, 0.752);
  EXPECT_LE(high, 1.25);
  EXPECT_GT(high, 1.248);
  EXPECT_NEAR(sum / 2000, 1, 0.01);
  EXPECT_NE(draw_stretch(0.25, 1, 3, 0), draw_stretch(0.25, 1, 4, 0));

  Dataset data;
  data.inputs = Tensor(cpu_backend(), {DType::fp32, {2, 8, 1}});
  EXPECT_NO_THROW(check_stretch(0.1, data));
  EXPECT_THROW(check_stretch(0.6, data), Error);
  EXPECT_THROW(check_stretch(-0.1, data), Error);
  data.task = Task::regression;
  EXPECT_THROW(check_stretch(0.1, data), Error);
  EXPECT_NO_THROW(check_stretch(0.1, data, true));
  data.lengths = Tensor(cpu_backend(), {DType::int32, {2}});
  EXPECT_THROW(check_stretch(0.1, data, true), Error);
  EXPECT_NO_THROW(check_stretch(0, data));
  data.inputs = Tensor(cpu_backend(), {DType::fp32, {2, 8}});
  data.lengths = {};
  EXPECT_THROW(check_stretch(0.1, data, true), Error);
}

}  // namespace epitaxy::test
