// Exponential functions without branches or calls, so that loops over them are vectorised. Within a few units in the last place.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace epitaxy {

/// exp(x): 2^n times a polynomial in x - n log 2 (Cephes expf). Below 2^-126 it is 0.
inline float fast_exp(float x) {
  const float clamped = x > 88.8f ? 88.8f : x < -87.4f ? -87.4f : x;  // a NaN passes
  constexpr float kMagic = 12582912.0f;                               // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = clamped * 1.44269504088896341f + kMagic, n = shifted - kMagic;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r * r + r) + 1.0f;
  // 2^n in two factors: n runs from -126 to 128
  const std::int32_t power = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kMagic));
  const std::int32_t half = power >> 1;
  const float first = std::bit_cast<float>((half + 127) << 23), second = std::bit_cast<float>((power - half + 127) << 23);
  const float result = p * first * second;
  return x < -87.3f ? 0.0f : result;
}

/// log(1 + x) for x >= 0: the logarithm of w = 1 + x (Cephes logf), and what w lost of x.
inline float fast_log1p(float x) {
  const float w = 1.0f + x;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(w);
  const std::uint32_t shifted = bits - 0x3f3504f3u;  // of sqrt(1/2): the mantissa lies in [sqrt(1/2), sqrt(2))
  const float n = static_cast<float>(static_cast<std::int32_t>(shifted) >> 23);
  const float m = std::bit_cast<float>((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f, z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const float tail = p * m * z - n * 2.12194440e-4f - 0.5f * z;
  const float result = (n * 0.693359375f + (m + tail)) + (x - (w - 1.0f)) / w;
  return w <= 3.4028234e38f ? result : w;  // infinity and NaN
}

inline float fast_sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

/// An odd polynomial near 0 (Cephes tanhf), 1 - 2 / (exp(2|x|) + 1) beyond.
inline float fast_tanh(float x) {
  const float size = std::fabs(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near = x + x * z * p;
  const float far = std::copysign(1.0f - 2.0f / (fast_exp(2.0f * size) + 1.0f), x);
  return size < 0.625f ? near : far;
}

/// The normal distribution function to relative 1e-6, also where it is small (W. Press et al., Numerical Recipes, erfcc).
inline float fast_normal_cdf(float x) {
  const float z = std::fabs(x) * 0.70710678118654752f, t = 1.0f / (1.0f + 0.5f * z);
  float p = 0.17087277f;
  p = p * t - 0.82215223f;
  p = p * t + 1.48851587f;
  p = p * t - 1.13520398f;
  p = p * t + 0.27886807f;
  p = p * t - 0.18628806f;
  p = p * t + 0.09678418f;
  p = p * t + 0.37409196f;
  p = p * t + 1.00002368f;
  p = p * t - 1.26551223f;
  const float tail = 0.5f * t * fast_exp(p - z * z);  // of -|x|
  return x > 0.0f ? 1.0f - tail : tail;
}

}  // namespace epitaxy
