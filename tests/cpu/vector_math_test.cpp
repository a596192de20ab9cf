// The branch-free functions against the C library in double, and the ordered keys of bit patterns exhaustively.
#include "cpu/vector_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/bits.h"

namespace epitaxy {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The largest |got - want| / |want| over steps of `step` in [low, high].
template <class Got, class Want>
double worst(float low, float high, float step, Got got, Want want) {
  double result = 0;
  for (float x = low; x <= high; x += step) {
    const double right = want(static_cast<double>(x));
    if (right != 0) result = std::fmax(result, std::fabs(static_cast<double>(got(x)) - right) / std::fabs(right));
  }
  return result;
}

TEST(VectorMath, RelativeErrors) {
  EXPECT_LT(worst(-87, 88.7f, 1e-3f, fast_exp, [](double x) { return std::exp(x); }), 2e-7);
  EXPECT_LT(worst(-80, 80, 1e-3f, fast_sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }), 3e-7);
  EXPECT_LT(worst(-10, 10, 1e-4f, fast_tanh, [](double x) { return std::tanh(x); }), 3e-7);
  EXPECT_LT(worst(-1e-3f, 1e-3f, 1e-7f, fast_tanh, [](double x) { return std::tanh(x); }), 2e-7);
  EXPECT_LT(worst(-4, 10, 1e-3f, fast_normal_cdf, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }), 2e-6);
}

TEST(VectorMath, Limits) {
  EXPECT_EQ(fast_exp(-kInfinity), 0.0f);
  EXPECT_EQ(fast_exp(-100.0f), 0.0f);
  EXPECT_EQ(fast_exp(kInfinity), kInfinity);
  EXPECT_EQ(fast_exp(89.0f), kInfinity);
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_sigmoid(-kInfinity), 0.0f);
  EXPECT_EQ(fast_sigmoid(kInfinity), 1.0f);
  EXPECT_EQ(fast_tanh(kInfinity), 1.0f);
  EXPECT_EQ(fast_tanh(-kInfinity), -1.0f);
  EXPECT_EQ(fast_normal_cdf(kInfinity), 1.0f);
  EXPECT_EQ(fast_normal_cdf(-kInfinity), 0.0f);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float y : {fast_exp(nan), fast_sigmoid(nan), fast_tanh(nan), fast_normal_cdf(nan)}) EXPECT_TRUE(std::isnan(y));
}

/// Neighbours in the order of the numbers have keys in that order; zeros agree, NaNs are one largest key.
template <class T>
void check_keys() {
  std::vector<std::pair<float, Key<T>>> finite;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    T x;
    set_bits(x, static_cast<Bits<T>>(i));
    EXPECT_EQ(bits_of(x), i);
    const Key<T> key = key_of<T>(bits_of(x));
    if (std::isnan(to_float(x)))
      ASSERT_EQ(key, std::numeric_limits<Key<T>>::max()) << i;
    else
      finite.emplace_back(to_float(x), key);
  }
  std::sort(finite.begin(), finite.end());
  for (std::size_t i = 1; i < finite.size(); ++i) {
    ASSERT_EQ(finite[i - 1].first < finite[i].first, finite[i - 1].second < finite[i].second) << finite[i].first;
    ASSERT_LT(finite[i].second, std::numeric_limits<Key<T>>::max());
  }
}

TEST(Bits, KeysAreOrderedAsTheNumbers) {
  check_keys<BFloat16>();
  check_keys<Half>();
  const float ascending[] = {-kInfinity, -3e38f, -1.0f, -1e-40f, 0.0f, 1e-40f, 1.0f, 3e38f, kInfinity};
  for (std::size_t i = 1; i < std::size(ascending); ++i)
    EXPECT_LT(key_of<float>(bits_of(ascending[i - 1])), key_of<float>(bits_of(ascending[i])));
  EXPECT_EQ(key_of<float>(bits_of(-0.0f)), key_of<float>(bits_of(0.0f)));
  EXPECT_EQ(key_of<float>(bits_of(-std::numeric_limits<float>::quiet_NaN())), std::numeric_limits<std::int32_t>::max());
}

}  // namespace
}  // namespace epitaxy
