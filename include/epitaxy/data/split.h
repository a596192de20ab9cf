// Seeded splits: which items are held out.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace epitaxy {

struct Split {
  std::vector<std::int64_t> kept, held_out;  // ascending, disjoint, together all items
};

enum class SplitPurpose : std::uint32_t { test = 0, validation = 1 };

/// Holds out round(fraction * N) items. `strata` (one per item) are kept in proportion: each gives floor or ceil of fraction * its size,
/// the largest remainders first (ties by a seeded draw). With `groups` (one per item, else empty) whole groups are held out instead:
/// in a seeded order a group is taken when that brings the held-out counts of the strata nearer to fraction * size; at least one group
/// is on each side. A function of (seed, purpose, order of items). Rejects a fraction outside [0, 1), and one that leaves a side of
/// 2 or more items empty.
Split split_items(std::span<const std::int32_t> strata, std::span<const std::string> groups, double fraction, std::uint64_t seed,
                  SplitPurpose purpose);

/// Keras's validation_split: the last N - int(N * (1 - fraction)) items, in order.
Split split_tail(std::int64_t count, double fraction);

/// Strata of a regression: the tenths of the sorted values (ties by position).
std::vector<std::int32_t> value_strata(std::span<const float> values);

}  // namespace epitaxy
