// CUDA's arithmetic intrinsics against their definitions.
#define EPITAXY_EMULATED 1

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/device/ptx.cuh"

namespace epitaxy::emulated {
namespace {

TEST(Intrinsics, Bits) {
  EXPECT_EQ(__popc(0xf0f0u), 8);
  EXPECT_EQ(__popcll(~0ull), 64);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__clz(0), 32);
  EXPECT_EQ(__clz(-1), 0);
  EXPECT_EQ(__clzll(1), 63);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__ffsll(1ll << 40), 41);
  EXPECT_EQ(__brev(1u), 0x80000000u);
  EXPECT_EQ(__brev(0x0000f00du), 0xb00f0000u);
  EXPECT_EQ(__umulhi(0x80000000u, 6u), 3u);
  EXPECT_EQ(__umul64hi(1ull << 63, 6ull), 3ull);
  EXPECT_EQ(__float_as_uint(1.0f), 0x3f800000u);
  EXPECT_EQ(__uint_as_float(0xc0000000u), -2.0f);
}

TEST(Intrinsics, MinAndMax) {
  EXPECT_EQ(min(3, -1), -1);
  EXPECT_EQ(max(3u, 7), 7u);
  EXPECT_EQ(min(-1, 1u), 1u);  // as unsigned numbers, as in CUDA
  EXPECT_EQ(max(1ll << 40, 5), 1ll << 40);
  EXPECT_EQ(max(NAN, 2.0f), 2.0f);
  EXPECT_EQ(min(2.0f, NAN), 2.0f);
}

TEST(Intrinsics, ConversionsSaturate) {
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(3.5f), 4);
  EXPECT_EQ(__float2int_rz(-2.9f), -2);
  EXPECT_EQ(__float2int_rd(-2.1f), -3);
  EXPECT_EQ(__float2int_ru(2.1f), 3);
  EXPECT_EQ(__float2int_rn(1e20f), std::numeric_limits<int>::max());
  EXPECT_EQ(__float2int_rn(-1e20f), std::numeric_limits<int>::min());
  EXPECT_EQ(__float2int_rn(NAN), 0);
  EXPECT_EQ(__float2uint_rn(-3.0f), 0u);
  EXPECT_EQ(__float2uint_rz(4e9f), 4000000000u);
}

TEST(Intrinsics, Functions) {
  EXPECT_FLOAT_EQ(__expf(1.5f), std::exp(1.5f));
  EXPECT_FLOAT_EQ(__logf(1.5f), std::log(1.5f));
  EXPECT_FLOAT_EQ(__powf(1.5f, 2.5f), std::pow(1.5f, 2.5f));
  EXPECT_FLOAT_EQ(__fdividef(1.0f, 3.0f), 1.0f / 3.0f);
  EXPECT_FLOAT_EQ(rsqrtf(4.0f), 0.5f);
  EXPECT_EQ(__frcp_rn(4.0f), 0.25f);
  EXPECT_EQ(__fsqrt_rn(9.0f), 3.0f);
  EXPECT_EQ(__saturatef(2.0f), 1.0f);
  EXPECT_EQ(__saturatef(-2.0f), 0.0f);
  EXPECT_EQ(__saturatef(NAN), 0.0f);
  EXPECT_EQ(__fmaf_rn(0x1p12f + 1, 0x1p12f - 1, -0x1p24f), -1.0f);  // rounded once
  EXPECT_NEAR(sinpif(0.5f), 1.0f, 1e-7);
  EXPECT_NEAR(cospif(1e6f), 1.0f, 1e-7);
}

TEST(Intrinsics, Conversions) {
  EXPECT_EQ(cvt_tf32(1.0f), 0x3f800000u);
  EXPECT_EQ(cvt_tf32(std::bit_cast<float>(0x3f801000u)), 0x3f802000u);  // a tie goes away from zero
  EXPECT_EQ(cvt_tf32(std::bit_cast<float>(0xbf800fffu)), 0xbf800000u);
  EXPECT_EQ(pack_rounded<BFloat16>(1.0f, -2.0f), 0xc0003f80u);
  EXPECT_EQ(pack_rounded<Half>(1.0f, -2.0f), 0xc0003c00u);
  EXPECT_EQ(load_float(std::uint8_t{200}), 200.0f);
  EXPECT_EQ(load_float(store_float<Half>(0.1f)), to_float(round<Half>(0.1f)));
  EXPECT_EQ(load_float(store_float<BFloat16>(0.1f)), to_float(round<BFloat16>(0.1f)));
}

}  // namespace
}  // namespace epitaxy::emulated
