// Dropout: the mask is the contract's, bit for bit, on every device.
#include "epitaxy/ops/dropout.h"

#include <cmath>

#include "kernels/dropout.h"
#include "tests/cases/dropout.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

Tensor at_step(std::int64_t step) { return values(DType::int64, {1}, {static_cast<double>(step)}); }

/// The contract, written out.
bool kept(std::int64_t i, float rate, std::uint64_t seed, std::uint32_t ordinal, std::uint32_t step) {
  const Philox4 four = philox(seed, static_cast<std::uint64_t>(i) / 4, ordinal, RandomPurpose::dropout, step);
  const std::uint32_t words[4] = {four.x, four.y, four.z, four.w};
  return uniform(words[i % 4]) >= rate;
}

TEST(Dropout, MaskIsTheContractsOnEveryDevice) {
  constexpr std::uint64_t kSeed = 0x123456789abcdef0ull;
  constexpr std::int64_t kSize = 1037;
  const Tensor ones = make({DType::fp32, {kSize}}, Fill::constant(1), 0);
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    for (const float rate : kDropoutRates)
      for (const std::int64_t step : {std::int64_t{0}, std::int64_t{5}, (std::int64_t{1} << 32) + 5}) {
        const auto y = numbers(run_on(device, *dropout(rate, kSeed, 3), {ones, at_step(step)})[0]);
        for (std::int64_t i = 0; i < kSize; ++i)
          ASSERT_EQ(y[static_cast<std::size_t>(i)] != 0, kept(i, rate, kSeed, 3, static_cast<std::uint32_t>(step)))
              << name(device) << " element " << i;
      }
  }
}

/// The words themselves, not only their mask: a device's threshold at each of the first uniforms splits it from the next.
TEST(Dropout, DeviceWordsEqualTheHosts) {
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    for (std::int64_t i = 0; i < 8; ++i) {
      const Philox4 four = philox(9, static_cast<std::uint64_t>(i) / 4, 0, RandomPurpose::dropout, 1);
      const std::uint32_t words[4] = {four.x, four.y, four.z, four.w};
      const float u = uniform(words[i % 4]);
      const Tensor ones = make({DType::fp32, {8}}, Fill::constant(1), 0);
      EXPECT_NE(numbers(run_on(device, *dropout(u, 9, 0), {ones, at_step(1)})[0])[static_cast<std::size_t>(i)], 0) << name(device);
      const float above = std::nextafter(std::fmax(u, 0x1p-24f), 1.0f);
      EXPECT_EQ(numbers(run_on(device, *dropout(above, 9, 0), {ones, at_step(1)})[0])[static_cast<std::size_t>(i)], 0) << name(device);
    }
  }
}

TEST(Dropout, ThresholdEqualsTheUniformComparison) {
  Random random(4, RandomPurpose::test);
  for (int i = 0; i < 20000; ++i) {
    const std::uint32_t bits = random.bits();
    const float u = uniform(bits);
    for (const float rate : {u, std::nextafter(u, 0.0f), std::nextafter(u, 1.0f), static_cast<float>(random.uniform())})
      ASSERT_EQ((bits >> 8) >= dropout_threshold(rate), u >= rate) << bits << " " << rate;
  }
}

TEST(Dropout, DropsTheRateAndKeepsTheMean) {
  const Tensor ones = make({DType::fp32, {100000}}, Fill::constant(1), 0);
  const auto y = numbers(run_on({}, *dropout(0.3f, 1, 0), {ones, at_step(0)})[0]);
  double sum = 0, dropped = 0;
  for (const double v : y) sum += v, dropped += v == 0;
  EXPECT_NEAR(dropped / 100000, 0.3, 5 * std::sqrt(0.3 * 0.7 / 100000));
  EXPECT_NEAR(sum / 100000, 1, 5 * std::sqrt(0.3 / 0.7 / 100000));
}

TEST(Dropout, StepsAndLayersDiffer) {
  const Tensor ones = make({DType::fp32, {1000}}, Fill::constant(1), 0);
  const auto of = [&](std::uint32_t ordinal, std::int64_t step) {
    return run_on({}, *dropout(0.5f, 1, ordinal), {ones, at_step(step)})[0];
  };
  EXPECT_FALSE(same(of(0, 1), of(0, 2)));
  EXPECT_FALSE(same(of(0, 1), of(1, 1)));
  EXPECT_TRUE(same(of(1, 2), of(1, 2)));
}

TEST(Dropout, GradientUsesTheSameMask) {
  check_gradient(dropout(0.5f, 3, 1), {make({DType::fp32, {40}}, Fill::normal(), 1), at_step(7)}, {0});
}

TEST(Dropout, Devices) {
  for (const DType dtype : {DType::fp32, DType::bf16, DType::fp16})
    for (const std::int64_t size : kDropoutSizes)
      for (const float rate : kDropoutRates) {
        SCOPED_TRACE(text(name(dtype), " ", size, " rate ", rate));
        check_devices(*dropout(rate, 11, 2), {make({dtype, {size}}, Fill::normal(), 1), at_step(3)}, size < 100);
      }
}

TEST(Dropout, DroppedInfinitiesAreZero) {
  const Tensor x = make({DType::fp32, {64}}, Fill::constant(std::numeric_limits<double>::infinity()), 0);
  check_devices(*dropout(0.5f, 1, 0), {x, at_step(0)}, true);
}

TEST(Dropout, Rejects) {
  EXPECT_THROW(dropout(1.0f, 0, 0), Error);
  EXPECT_THROW(dropout(-0.1f, 0, 0), Error);
  EXPECT_THROW(dropout(0.5f, 0, 1u << 24), Error);
  const auto specs = [](TensorSpec x, TensorSpec step) { return dropout(0.5f, 0, 0)->outputs(std::vector<TensorSpec>{x, step}); };
  EXPECT_THROW(specs({DType::fp32, {2}}, {DType::int32, {1}}), Error);
  EXPECT_THROW(specs({DType::uint8, {2}}, {DType::int64, {1}}), Error);
}

}  // namespace
}  // namespace epitaxy::test
