#include "epitaxy/philox.h"

#include <cmath>
#include <numbers>

namespace epitaxy {

std::uint32_t Random::bits() {
  if (left_ == 0) {
    const Philox4 four = philox(seed_, block_++, ordinal_, purpose_, step_);
    ready_ = {four.x, four.y, four.z, four.w};
    left_ = 4;
  }
  return ready_[static_cast<std::size_t>(4 - left_--)];
}

double Random::uniform() {
  const std::uint64_t high = bits() >> 5, low = bits() >> 6;  // 27 + 26 bits
  return static_cast<double>((high << 26) | low) * 0x1p-53;
}

std::uint64_t Random::below(std::uint64_t count) {
  const std::uint64_t unbiased = -count % count;  // 2^64 mod count: draws below it would favour small results
  for (;;) {
    const std::uint64_t high = bits();
    const std::uint64_t draw = (high << 32) | bits();
    if (draw >= unbiased) return draw % count;
  }
}

double Random::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  const double angle = 2.0 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

std::int64_t Random::poisson(double mean) {
  if (mean < 30.0) {  // inversion: the first k whose cumulative probability exceeds one uniform
    double probability = std::exp(-mean), left = uniform();
    std::int64_t k = 0;
    for (; left > probability && k < 200; probability *= mean / static_cast<double>(k)) left -= probability, ++k;
    return k;
  }
  const double root = std::sqrt(mean), b = 0.931 + 2.53 * root, a = -0.059 + 0.02483 * b;
  const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), v_r = 0.9277 - 3.6224 / (b - 2.0);
  for (;;) {
    const double u = uniform() - 0.5, v = uniform();
    const double us = 0.5 - std::fabs(u);
    const double k = std::floor((2.0 * a / us + b) * u + mean + 0.43);
    if (us >= 0.07 && v <= v_r) return static_cast<std::int64_t>(k);
    if (k < 0.0 || (us < 0.013 && v > us)) continue;
    if (std::log(v) + std::log(inverse_alpha) - std::log(a / (us * us) + b) <= k * std::log(mean) - mean - std::lgamma(k + 1.0))
      return static_cast<std::int64_t>(k);
  }
}

}  // namespace epitaxy
