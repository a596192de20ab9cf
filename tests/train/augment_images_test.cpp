// The augmentation operation against the host's, bit for bit.
#include "epitaxy/ops/augment_images.h"

#include <array>

#include "epitaxy/data/augment.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(AugmentImages, DoesWhatTheHostDoes) {
  const std::array<Augmentation, 3> all{{{true, true, true, 3, ShiftFill::edge}, {true, false, true, 5, ShiftFill::wrap}, {.shift = 2}}};
  const Shape shape{40, 9, 9, 2};
  const Tensor images(cpu_backend(), {DType::uint16, shape}), seed(cpu_backend(), {DType::int64, {1}}),
      epoch(cpu_backend(), {DType::int64, {1}}), sample(cpu_backend(), {DType::int64, {shape[0]}}), want(cpu_backend(), images.spec());
  for (std::int64_t i = 0; i < images.count(); ++i) images.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(i);
  constexpr std::uint64_t kSeed = 0xfedcba9876543210u;  // the input holds its bits
  seed.as<std::int64_t>()[0] = static_cast<std::int64_t>(kSeed);
  epoch.as<std::int64_t>()[0] = 11;
  for (const Augmentation& one : all) {
    for (std::int64_t i = 0; i < shape[0]; ++i) {
      sample.as<std::int64_t>()[i] = 1000 * i + 7;
      apply_augmentation(draw_augmentation(one, kSeed, 11, static_cast<std::uint64_t>(1000 * i + 7)), one.fill,
                         images.slice(i, 1).reshape({9, 9, 2}), want.slice(i, 1).reshape({9, 9, 2}));
    }
    for (const Device device : devices())
      if (why_absent(device).empty()) {
        EXPECT_TRUE(same(run_on(device, *augment_images(one), {images, seed, epoch, sample})[0], want)) << name(device);
      }
  }
}

}  // namespace
}  // namespace epitaxy::test
