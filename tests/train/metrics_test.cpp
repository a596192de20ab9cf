// Losses, counts and intervals against values computed by hand.
#include "epitaxy/train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/compare.h"

namespace epitaxy {
namespace {

Tensor ints(std::initializer_list<int> numbers) {
  const Tensor tensor(cpu_backend(), {DType::int32, {static_cast<std::int64_t>(numbers.size())}});
  std::copy(numbers.begin(), numbers.end(), tensor.as<std::int32_t>());
  return tensor;
}

TEST(Metrics, CrossEntropyByHand) {
  const double e = std::exp(1.0);
  const auto losses = cross_entropy(test::values(DType::fp32, {3, 2}, {0, 0, 1, 0, 1000, -1000}), ints({1, 0, 1}));
  ASSERT_EQ(losses.size(), 3u);
  EXPECT_NEAR(losses[0], std::log(2.0), 1e-12);
  EXPECT_NEAR(losses[1], std::log(e + 1) - 1, 1e-12);
  EXPECT_NEAR(losses[2], 2000, 1e-9);  // no overflow
}

TEST(Metrics, CrossEntropyRefusesBadTargets) {
  const Tensor logits = test::values(DType::fp32, {1, 2}, {0, 0});
  EXPECT_THROW(cross_entropy(logits, ints({2})), Error);
  EXPECT_THROW(cross_entropy(logits, ints({-1})), Error);
  EXPECT_THROW(cross_entropy(logits, ints({0, 1})), Error);
}

TEST(Metrics, OutputLossesByHand) {
  const Tensor y = test::values(DType::fp32, {2, 2}, {1, 2, 0, 5}), t = test::values(DType::fp32, {2, 2}, {0, 2, 0.5, 2});
  const auto mse = output_loss(LossKind::mean_squared_error, y, t), mae = output_loss(LossKind::mean_absolute_error, y, t),
             huber = output_loss(LossKind::huber, y, t, 1.0);
  EXPECT_DOUBLE_EQ(mse[0], 0.5);
  EXPECT_DOUBLE_EQ(mse[1], (0.25 + 9) / 2);
  EXPECT_DOUBLE_EQ(mae[0], 0.5);
  EXPECT_DOUBLE_EQ(mae[1], 1.75);
  EXPECT_DOUBLE_EQ(huber[0], 0.25);
  EXPECT_DOUBLE_EQ(huber[1], (0.125 + 2.5) / 2);
  const auto bce =
      output_loss(LossKind::binary_cross_entropy, test::values(DType::fp32, {2, 1}, {0, -800}), test::values(DType::fp32, {2, 1}, {1, 1}));
  EXPECT_NEAR(bce[0], std::log(2.0), 1e-12);
  EXPECT_NEAR(bce[1], 800, 1e-9);
  EXPECT_THROW(output_loss(LossKind::huber, y, test::values(DType::fp32, {2, 1}, {0, 0})), Error);
}

TEST(Metrics, FirstOfEqualLogitsWins) {
  EXPECT_EQ(predicted_classes(test::values(DType::fp32, {3, 3}, {1, 1, 0, 0, 2, 2, -3, -2, -1})), (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(Metrics, SoftmaxRowsSumToOneAndKeepRatios) {
  const Tensor p = softmax_rows(test::values(DType::fp32, {2, 2}, {0, std::log(3.0), 5000, 5000}));
  const auto got = p.span<float>();
  EXPECT_NEAR(got[0], 0.25, 1e-6);
  EXPECT_NEAR(got[1], 0.75, 1e-6);
  EXPECT_FLOAT_EQ(got[2], 0.5f);
  EXPECT_FLOAT_EQ(sigmoid_of(test::values(DType::fp32, {1, 2}, {0, -200})).as<float>()[0], 0.5f);
}

TEST(Metrics, ConfusionAndAccuraciesByHand) {
  // class 0: 3 of 4 right; class 1: 1 of 2 right; class 2 does not occur
  const std::vector<std::int32_t> truth{0, 0, 0, 0, 1, 1}, predicted{0, 0, 0, 2, 1, 0};
  const auto confusion = confusion_of(truth, predicted, 3);
  EXPECT_EQ(confusion, (std::vector<std::int64_t>{3, 0, 1, 1, 1, 0, 0, 0, 0}));
  EXPECT_DOUBLE_EQ(accuracy_of(confusion, 3), 4.0 / 6);
  EXPECT_DOUBLE_EQ(balanced_accuracy_of(confusion, 3), (0.75 + 0.5) / 2);
  EXPECT_THROW(confusion_of(truth, std::vector<std::int32_t>{0, 0, 0, 0, 1, 3}, 3), Error);
}

TEST(Metrics, BootstrapIsReproducibleAndHasTheRightWidth) {
  std::vector<double> values(400);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 4 == 0 ? 0 : 1;  // mean 0.75, standard error sqrt(.75*.25/400) = 0.02165
  const auto mean = [&](std::span<const std::int64_t> items) {
    double sum = 0;
    for (const auto item : items) sum += values[static_cast<std::size_t>(item)];
    return std::vector<double>{sum / static_cast<double>(items.size()), 7.0};
  };
  const auto one = bootstrap(400, 5, mean), same = bootstrap(400, 5, mean), other = bootstrap(400, 6, mean);
  ASSERT_EQ(one.size(), 2u);
  EXPECT_EQ(one[0].low, same[0].low);
  EXPECT_EQ(one[0].high, same[0].high);
  EXPECT_TRUE(one[0].low != other[0].low || one[0].high != other[0].high);
  EXPECT_NEAR(one[0].low, 0.75 - 1.96 * 0.02165, 0.006);
  EXPECT_NEAR(one[0].high, 0.75 + 1.96 * 0.02165, 0.006);
  EXPECT_EQ(one[1].low, 7.0);
  EXPECT_EQ(one[1].high, 7.0);
}

TEST(Metrics, BootstrapQuantilesOfAKnownSample) {
  // The statistic is a counter 0..100, so its quantiles are known exactly.
  int call = 0;
  const auto intervals = bootstrap(
      1, 1, [&](std::span<const std::int64_t>) { return std::vector<double>{static_cast<double>(call++)}; }, 101, 0.9);
  EXPECT_NEAR(intervals[0].low, 5, 1e-9);
  EXPECT_NEAR(intervals[0].high, 95, 1e-9);
}

}  // namespace
}  // namespace epitaxy
