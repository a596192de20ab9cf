// The 16-bit floats exhaustively, rounding at ties and limits, names.
#include "epitaxy/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "epitaxy/dtype_switch.h"
#include "epitaxy/error.h"

namespace epitaxy {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The value of a binary16 by its definition.
double half_value(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return mantissa ? std::numeric_limits<double>::quiet_NaN() : sign * kInfinity;
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

TEST(Half, EveryValueSurvivesARoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const Half h{static_cast<std::uint16_t>(bits)};
    const float wide = to_float(h);
    if (std::isnan(half_value(h.bits))) {
      ASSERT_TRUE(std::isnan(wide)) << bits;
      ASSERT_TRUE(std::isnan(to_float(round<Half>(wide)))) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(wide), half_value(h.bits)) << bits;
    ASSERT_EQ(std::signbit(wide), (bits & 0x8000) != 0) << bits;
    ASSERT_EQ(round<Half>(wide).bits, bits);
  }
}

TEST(BFloat16, EveryValueSurvivesARoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const BFloat16 b{static_cast<std::uint16_t>(bits)};
    const float wide = to_float(b);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(wide), bits << 16);
    if (std::isnan(wide))
      ASSERT_TRUE(std::isnan(to_float(round<BFloat16>(wide)))) << bits;
    else
      ASSERT_EQ(round<BFloat16>(wide).bits, bits);
  }
}

/// Between every two neighbours: the midpoint goes to the even one, and just beside it to the nearer one.
template <class T>
void check_ties(std::uint32_t last_finite) {
  for (std::uint32_t bits = 0; bits < last_finite; ++bits) {
    const double low = to_float(T{static_cast<std::uint16_t>(bits)}), high = to_float(T{static_cast<std::uint16_t>(bits + 1)});
    const float middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2) << bits;
    const std::uint32_t even = bits % 2 ? bits + 1 : bits;
    ASSERT_EQ(round<T>(middle).bits, even) << bits;
    ASSERT_EQ(round<T>(-middle).bits, even | 0x8000u) << bits;
    ASSERT_EQ(round<T>(std::nextafter(middle, -kInfinity)).bits, bits) << bits;
    ASSERT_EQ(round<T>(std::nextafter(middle, kInfinity)).bits, bits + 1) << bits;
  }
}

TEST(Half, RoundsToNearestEven) { check_ties<Half>(0x7bff); }
TEST(BFloat16, RoundsToNearestEven) { check_ties<BFloat16>(0x7f7f); }

TEST(Half, Limits) {
  EXPECT_EQ(round<Half>(65504.0f).bits, 0x7bff);
  EXPECT_EQ(round<Half>(65519.996f).bits, 0x7bff);
  EXPECT_EQ(round<Half>(65520.0f).bits, 0x7c00);
  EXPECT_EQ(round<Half>(-kInfinity).bits, 0xfc00);
  EXPECT_EQ(round<Half>(0x1p-24f).bits, 1);
  EXPECT_EQ(round<Half>(0x1p-25f).bits, 0);
  EXPECT_EQ(round<Half>(-1e-30f).bits, 0x8000);
}

TEST(BFloat16, Limits) {
  EXPECT_EQ(round<BFloat16>(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(round<BFloat16>(kInfinity).bits, 0x7f80);
  EXPECT_TRUE(std::isnan(to_float(round<BFloat16>(std::bit_cast<float>(0x7f800001u)))));  // a NaN whose upper half is an infinity's
}

TEST(Tf32, RoundsTiesAway) {
  EXPECT_EQ(round_tf32(1.0f + 0x1p-11f), 1.0f + 0x1p-10f);
  EXPECT_EQ(round_tf32(1.0f + 0x1p-12f), 1.0f);
  EXPECT_EQ(round_tf32(-1.0f - 0x1p-11f), -1.0f - 0x1p-10f);
  EXPECT_EQ(round_tf32(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(round_tf32(std::numeric_limits<float>::quiet_NaN())));
}

TEST(DType, NamesAndSizes) {
  constexpr DType kAll[] = {DType::fp32, DType::bf16, DType::fp16, DType::uint8, DType::uint16, DType::int32, DType::int64};
  constexpr std::size_t kSizes[] = {4, 2, 2, 1, 2, 4, 8};
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(parse_dtype(name(kAll[i])), kAll[i]);
    EXPECT_EQ(size_of(kAll[i]), kSizes[i]);
    EXPECT_EQ(is_floating(kAll[i]), i < 3);
    EXPECT_EQ(unit_roundoff(kAll[i]) > 0, i < 3);
  }
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16})
    EXPECT_EQ(parse_precision(name(precision)), precision);
  EXPECT_EQ(storage(Precision::tf32), DType::fp32);
  EXPECT_EQ(storage(Precision::bf16), DType::bf16);
}

TEST(DType, UnknownNamesSayWhatIsKnown) {
  try {
    parse_dtype("float32");
    FAIL() << "accepted float32";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage);
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_STREQ(error.what(), "unknown dtype 'float32': one of fp32, bf16, fp16, uint8, uint16, int32, int64");
  }
  EXPECT_THROW(parse_precision("int8"), Error);
  EXPECT_THROW(parse_dtype(""), Error);
}

TEST(DType, SwitchReachesTheTypeAndRejectsOthers) {
  DType seen = DType::int64;
  with_float(DType::bf16, [&]<class T>() { seen = dtype_of<T>(); });
  EXPECT_EQ(seen, DType::bf16);
  with_pixel(DType::uint16, [&]<class T>() { seen = dtype_of<T>(); });
  EXPECT_EQ(seen, DType::uint16);
  EXPECT_THROW(with_float(DType::int32, []<class T>() {}), Error);
  EXPECT_THROW(with_pixel(DType::bf16, []<class T>() {}), Error);
}

}  // namespace
}  // namespace epitaxy
