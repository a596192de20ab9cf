// Philox 4x32-10, the counter-based random generator: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
// The same integers and uniforms on every device; no state but the counter.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "epitaxy/host_device.h"

namespace epitaxy {

struct Philox4 {
  std::uint32_t x, y, z, w;
};

/// Ten rounds over counter c with key (k0, k1).
EPITAXY_HOST_DEVICE inline Philox4 philox(Philox4 c, std::uint32_t k0, std::uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = static_cast<std::uint64_t>(0xD2511F53u) * c.x;
    const std::uint64_t b = static_cast<std::uint64_t>(0xCD9E8D57u) * c.z;
    c = {static_cast<std::uint32_t>(b >> 32) ^ c.y ^ k0, static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(a >> 32) ^ c.w ^ k1,
         static_cast<std::uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// What a random number is for: the low byte of a stream number, so that two uses never share one.
enum class RandomPurpose : std::uint32_t {
  weights = 1,
  dropout = 2,
  shuffle = 3,
  augment = 4,
  split = 5,
  simulate = 6,
  bootstrap = 7,
  test = 8
};

/// The four integers of (seed; element block, ordinal and purpose, step). Counter = {block low, block high, ordinal << 8 | purpose, step}.
EPITAXY_HOST_DEVICE inline Philox4 philox(std::uint64_t seed, std::uint64_t block, std::uint32_t ordinal, RandomPurpose purpose,
                                          std::uint32_t step) {
  return philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                 (ordinal << 8) | static_cast<std::uint32_t>(purpose), step},
                static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
}

/// Uniform in [0, 1): the upper 24 bits, exact in fp32.
EPITAXY_HOST_DEVICE inline float uniform(std::uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

/// The sort key of an item in an epoch's order: the order is items sorted by key, ties by index, the same on every device.
EPITAXY_HOST_DEVICE inline std::uint64_t shuffle_key(std::uint64_t seed, std::uint32_t epoch, std::uint64_t item) {
  const Philox4 four = philox(seed, item, 0, RandomPurpose::shuffle, epoch);
  return static_cast<std::uint64_t>(four.x) << 32 | four.y;
}

/// A sequential host generator over one Philox stream: for shuffles, splits, simulators, weights.
class Random {
 public:
  Random(std::uint64_t seed, RandomPurpose purpose, std::uint32_t ordinal = 0, std::uint32_t step = 0)
      : seed_(seed), ordinal_(ordinal), step_(step), purpose_(purpose) {}
  std::uint32_t bits();
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform integer in [0, count), unbiased; count >= 1.
  std::uint64_t below(std::uint64_t count);
  /// Standard normal (Box-Muller).
  double normal();
  /// Poisson with the given mean >= 0 (inversion below 30, else PTRS: W. Hoermann, 1993).
  std::int64_t poisson(double mean);
  /// Fisher-Yates over any random-access container.
  template <class Container>
  void shuffle(Container& items) {
    for (std::uint64_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::uint64_t seed_, block_ = 0;
  std::uint32_t ordinal_, step_;
  RandomPurpose purpose_;
  std::array<std::uint32_t, 4> ready_{};
  int left_ = 0;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace epitaxy
