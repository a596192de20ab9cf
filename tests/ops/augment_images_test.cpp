// Augmentation of images: hand values, dependence on (seed, epoch, sample) alone, every device.
#include "epitaxy/ops/augment_images.h"

#include <set>

#include "tests/cases/augment_images.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

Tensor number(double value) { return values(DType::int64, {1}, {value}); }

/// The first sample whose draw satisfies `wanted`.
template <class Wanted>
double sample_with(const Augmentation& augmentation, Wanted&& wanted) {
  std::uint64_t sample = 0;
  while (!wanted(draw_augmentation(augmentation, 7, 3, sample))) ++sample;
  return static_cast<double>(sample);
}

TEST(AugmentImages, HandValues) {
  const Augmentation all{true, true, true, 1, ShiftFill::wrap};
  const double flip = sample_with(all, [](const AugmentDraw& d) {
    return d.flip_horizontal && !d.flip_vertical && d.quarter_turns == 1 && d.right == 0 && d.down == 1;
  });
  const double still = sample_with(all, [](const AugmentDraw& d) {
    return !d.flip_horizontal && !d.flip_vertical && d.quarter_turns == 0 && d.right == 0 && d.down == 0;
  });
  // 1 2 / 3 4 -> flipped 2 1 / 4 3 -> turned 1 3 / 2 4 -> shifted down 2 4 / 1 3
  const Tensor x = values(DType::uint16, {2, 2, 2, 1}, {1, 2, 3, 4, 1, 2, 3, 4});
  const Tensor want = values(DType::uint16, {2, 2, 2, 1}, {2, 4, 1, 3, 1, 2, 3, 4});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    EXPECT_TRUE(same(run_on(device, *augment_images(all), {x, number(7), number(3), values(DType::int64, {2}, {flip, still})})[0], want))
        << name(device);
  }
}

TEST(AugmentImages, Devices) {
  for (const AugmentImagesCase& c : kAugmentImagesCases) {
    SCOPED_TRACE(text(c.images));
    const Tensor x = make(c.images, c.images.dtype == DType::fp32 ? Fill::normal() : Fill::integers(0, 250), 1),
                 sample = make({DType::int64, {c.images.shape[0]}}, Fill::integers(0, 1 << 30), 2);
    check_devices(*augment_images(c.augmentation), {x, number(123456789012345), number(5), sample});
  }
}

TEST(AugmentImages, DependsOnSeedEpochAndSampleAlone) {
  const Augmentation all{true, true, true, 3, ShiftFill::wrap};
  const Tensor one = make({DType::uint8, {1, 9, 9, 1}}, Fill::integers(0, 255), 1);
  std::vector<double> repeated;
  for (int i = 0; i < 12; ++i)
    for (const double v : numbers(one)) repeated.push_back(v);
  const Tensor many = values(DType::uint8, {12, 9, 9, 1}, repeated);
  const Tensor samples = values(DType::int64, {12}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    SCOPED_TRACE(name(device));
    const auto draw = [&](double seed, double epoch) {
      return run_on(device, *augment_images(all), {many, number(seed), number(epoch), samples})[0];
    };
    const Tensor first = draw(1, 0);
    EXPECT_TRUE(same(first.slice(0, 1), first.slice(11, 1)));
    std::set<std::vector<double>> different;
    for (int i = 0; i < 11; ++i) different.insert(numbers(first.slice(i, 1)));
    EXPECT_GE(different.size(), 10u);
    EXPECT_FALSE(same(first, draw(1, 1)));
    EXPECT_FALSE(same(first, draw(2, 0)));
  }
}

TEST(AugmentImages, Rejects) {
  const TensorSpec x{DType::uint8, {2, 4, 4, 1}}, one{DType::int64, {1}}, sample{DType::int64, {2}};
  const auto outputs = [](const Augmentation& a, std::vector<TensorSpec> inputs) { return augment_images(a)->outputs(inputs); };
  EXPECT_EQ(outputs({}, {x, one, one, sample})[0], x);
  EXPECT_THROW(augment_images({.shift = -1}), Error);
  EXPECT_THROW(outputs({.shift = 4}, {x, one, one, sample}), Error);
  EXPECT_THROW(outputs({.rotate = true}, {{DType::uint8, {2, 4, 5, 1}}, one, one, sample}), Error);
  EXPECT_THROW(outputs({}, {{DType::bf16, {2, 4, 4, 1}}, one, one, sample}), Error);
  EXPECT_THROW(outputs({}, {x, one, sample, sample}), Error);
  EXPECT_THROW(outputs({}, {x, one, one, one}), Error);
}

}  // namespace
}  // namespace epitaxy::test
