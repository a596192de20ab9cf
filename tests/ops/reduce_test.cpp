// Sums per channel, histograms, permutations: hand-computed values, every device against the reference.
#include "epitaxy/ops/reduce.h"

#include <algorithm>
#include <limits>

#include "kernels/reduce.h"
#include "tests/cases/activation.h"
#include "tests/cases/reduce.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

const Context kReference{&cpu_backend(), {}, true};

TEST(PixelTiles, CoverEveryPixelOnce) {
  for (const std::int64_t pixels : {1, 2, 127, 128, 129, 255, 256, 257, 1000, 131071, 131072, 131073, 802816, 1000003}) {
    const PixelTiles tiles = pixel_tiles(pixels);
    EXPECT_LE(tiles.tiles, 1024);
    EXPECT_GE(tiles.tiles * tiles.size, pixels) << pixels;
    EXPECT_LT((tiles.tiles - 1) * tiles.size, pixels) << "an empty tile for " << pixels;
    EXPECT_EQ(tiles.size, (pixels + tiles.tiles - 1) / tiles.tiles);
  }
}

TEST(ChannelSum, HandValues) {
  const Tensor x = values(DType::fp32, {2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, -12});
  EXPECT_TRUE(same(run(*channel_sum(), {x}, kReference)[0], values(DType::fp32, {3}, {22, 26, 6})));
}

TEST(ChannelSum, Devices) {
  for (const DType dtype : kFloatTypes)
    for (const PixelCase& size : kPixelCases) {
      SCOPED_TRACE(text(name(dtype), " [", size.pixels, ", ", size.channels, "]"));
      check_devices(*channel_sum(), {make({dtype, {size.pixels, size.channels}}, Fill::normal(0.5), 1)});
    }
}

/// Integers that fp32 adds without rounding: every device must give the exact sum.
TEST(ChannelSum, ExactOnIntegers) {
  const Tensor x = make({DType::bf16, {3, 100, 16}}, Fill::integers(-8, 8), 3);
  const Tensor want = run(*channel_sum(), {x}, kReference)[0];
  for (const Device device : devices())
    if (why_absent(device).empty()) {
      EXPECT_TRUE(same(run_on(device, *channel_sum(), {x})[0], want)) << name(device);
    }
}

TEST(ChannelSum, OtherChannelsStayCleanOfNaN) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  check_devices(*channel_sum(), {values(DType::fp32, {2, 4}, {1, inf, nan, 3e38, 2, 1, 1, -3e38})}, true, true);
}

TEST(ChannelSum, Rejects) {
  EXPECT_THROW(channel_sum()->outputs(std::vector<TensorSpec>{{DType::int32, {2, 2}}}), Error);
  EXPECT_THROW(channel_sum()->outputs(std::vector<TensorSpec>{{DType::fp32, {0, 2}}}), Error);
  EXPECT_THROW(channel_sum()->outputs(std::vector<TensorSpec>{}), Error);
}

TEST(Histogram, HandValues) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  // Bins of width 0.5 from -1 to 1: the upper edge belongs to the last bin, everything outside and NaN to none.
  const Tensor x = values(DType::fp32, {10}, {-1, -0.75, -0.5, 0, 0.49, 0.5, 1, 1.01, nan, -inf});
  for (const Device device : devices())
    if (why_absent(device).empty()) {
      EXPECT_TRUE(same(run_on(device, *histogram(4, -1, 1), {x})[0], values(DType::int64, {4}, {2, 1, 2, 2}))) << name(device);
    }
}

TEST(Histogram, Devices) {
  for (const DType dtype : {DType::uint8, DType::uint16, DType::fp32}) {
    SCOPED_TRACE(name(dtype));
    const Tensor x = make({dtype, {7, 501}}, Fill::uniform(-20, 300), 5);
    check_devices(*histogram(1, 0, 255), {x});
    check_devices(*histogram(256, 0, 256), {x});
    check_devices(*histogram(1000, 3.5f, 77.25f), {x});
  }
  const Tensor bytes = make({DType::uint8, {1000}}, Fill::uniform(0, 255), 6);
  const auto counts = numbers(run(*histogram(256, 0, 256), {bytes}, kReference)[0]);
  const auto pixels = numbers(bytes);
  for (int v = 0; v < 256; ++v) EXPECT_EQ(counts[static_cast<std::size_t>(v)], std::count(pixels.begin(), pixels.end(), v));
}

TEST(Histogram, Rejects) {
  EXPECT_THROW(histogram(0, 0, 1), Error);
  EXPECT_THROW(histogram(4, 1, 1), Error);
  EXPECT_THROW(histogram(4, 0, std::numeric_limits<float>::infinity()), Error);
  EXPECT_THROW(histogram(4, 0, 1)->outputs(std::vector<TensorSpec>{{DType::bf16, {2}}}), Error);
}

TEST(Permutation, SortsByKey) {
  const auto order = numbers(run(*permutation(1000, 42, 3), {}, kReference)[0]);
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size(); ++i) ASSERT_EQ(sorted[i], static_cast<double>(i));
  for (std::size_t i = 1; i < order.size(); ++i)
    ASSERT_LE(shuffle_key(42, 3, static_cast<std::uint64_t>(order[i - 1])), shuffle_key(42, 3, static_cast<std::uint64_t>(order[i])));
  EXPECT_NE(order, numbers(run(*permutation(1000, 42, 4), {}, kReference)[0]));
  EXPECT_NE(order, numbers(run(*permutation(1000, 43, 3), {}, kReference)[0]));
}

TEST(Permutation, Devices) {
  for (const std::int64_t count : {0, 1, 2, 1023, 5000}) {
    SCOPED_TRACE(count);
    check_devices(*permutation(count, 7, 1), {}, true);
  }
  EXPECT_THROW(permutation(-1, 7, 1), Error);
}

}  // namespace
}  // namespace epitaxy::test
