#include "epitaxy/data/split.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "epitaxy/error.h"
#include "epitaxy/philox.h"

namespace epitaxy {

namespace {

std::map<std::int32_t, std::vector<std::int64_t>> members_of(std::span<const std::int32_t> strata) {
  std::map<std::int32_t, std::vector<std::int64_t>> members;
  for (std::size_t i = 0; i < strata.size(); ++i) members[strata[i]].push_back(static_cast<std::int64_t>(i));
  return members;
}

/// Marks round(fraction * N) items, each stratum in proportion (largest remainders).
void hold_out_items(std::span<const std::int32_t> strata, double fraction, Random& random, std::vector<bool>& held) {
  auto members = members_of(strata);
  struct Quota {
    std::vector<std::int64_t>* items;
    std::int64_t count;
    double remainder;
  };
  std::vector<Quota> quotas;
  std::int64_t left = std::llround(fraction * static_cast<double>(strata.size()));
  for (auto& [stratum, items] : members) {
    random.shuffle(items);
    const double exact = fraction * static_cast<double>(items.size());
    const auto count = static_cast<std::int64_t>(exact);
    quotas.push_back({&items, count, exact - static_cast<double>(count)});
    left -= count;
  }
  random.shuffle(quotas);  // decides between equal remainders
  std::stable_sort(quotas.begin(), quotas.end(), [](const Quota& a, const Quota& b) { return a.remainder > b.remainder; });
  for (auto& quota : quotas) {
    if (left > 0 && quota.remainder > 0) {
      ++quota.count;
      --left;
    }
    for (std::int64_t i = 0; i < quota.count; ++i) held[static_cast<std::size_t>((*quota.items)[static_cast<std::size_t>(i)])] = true;
  }
}

/// Marks whole groups: one is taken when that lowers the sum over strata of (held out - fraction * size)^2.
void hold_out_groups(std::span<const std::int32_t> strata, std::span<const std::string> groups, double fraction, Random& random,
                     std::vector<bool>& held, const char* what) {
  std::map<std::string, std::vector<std::int64_t>> members;
  for (std::size_t i = 0; i < groups.size(); ++i) members[groups[i]].push_back(static_cast<std::int64_t>(i));
  require(members.size() >= 2, "cannot split by group: all ", groups.size(),
          " items are of one group or sequence; give more of them, or set the ", what, " fraction to 0");
  std::vector<const std::vector<std::int64_t>*> order;
  for (const auto& [name, items] : members) order.push_back(&items);
  random.shuffle(order);

  std::map<std::int32_t, double> missing;  // per stratum: how many items are still to be held out
  for (const auto& [stratum, items] : members_of(strata)) missing[stratum] = fraction * static_cast<double>(items.size());
  const auto gain = [&](const std::vector<std::int64_t>& items) {
    std::map<std::int32_t, double> taken;
    for (const std::int64_t item : items) taken[strata[static_cast<std::size_t>(item)]] += 1;
    double sum = 0;
    for (const auto& [stratum, count] : taken) sum += count * (2 * missing[stratum] - count);  // m^2 - (m - c)^2
    return sum;
  };
  const auto take = [&](const std::vector<std::int64_t>& items) {
    for (const std::int64_t item : items) {
      held[static_cast<std::size_t>(item)] = true;
      missing[strata[static_cast<std::size_t>(item)]] -= 1;
    }
  };
  std::size_t taken = 0;
  for (const auto* items : order)
    if (taken + 1 < order.size() && gain(*items) > 0) {
      take(*items);
      ++taken;
    }
  if (taken == 0)  // every group is too large: the one that does least harm
    take(**std::max_element(order.begin(), order.end(), [&](const auto* a, const auto* b) { return gain(*a) < gain(*b); }));
}

Split from_marks(const std::vector<bool>& held) {
  Split split;
  for (std::size_t i = 0; i < held.size(); ++i) (held[i] ? split.held_out : split.kept).push_back(static_cast<std::int64_t>(i));
  return split;
}

}  // namespace

Split split_items(std::span<const std::int32_t> strata, std::span<const std::string> groups, double fraction, std::uint64_t seed,
                  SplitPurpose purpose) {
  const char* what = purpose == SplitPurpose::test ? "test" : "validation";
  require(fraction >= 0 && fraction < 1, "the ", what, " fraction must be in [0, 1), got ", fraction);
  require(groups.empty() || groups.size() == strata.size(), "split: ", groups.size(), " groups for ", strata.size(), " items");
  std::vector<bool> held(strata.size());
  if (fraction > 0 && !strata.empty()) {
    Random random(seed, RandomPurpose::split, static_cast<std::uint32_t>(purpose));
    if (groups.empty())
      hold_out_items(strata, fraction, random, held);
    else
      hold_out_groups(strata, groups, fraction, random, held, what);
  }
  Split split = from_marks(held);
  if (fraction > 0)
    require(!split.kept.empty() && !split.held_out.empty(), "a ", what, " fraction of ", fraction, " of ", strata.size(),
            " items leaves a part without items; give more data or another fraction");
  return split;
}

Split split_tail(std::int64_t count, double fraction) {
  require(fraction >= 0 && fraction < 1, "the validation fraction must be in [0, 1), got ", fraction);
  Split split;
  const auto first = static_cast<std::int64_t>(static_cast<double>(count) * (1 - fraction));
  for (std::int64_t i = 0; i < count; ++i) (i < first ? split.kept : split.held_out).push_back(i);
  return split;
}

std::vector<std::int32_t> value_strata(std::span<const float> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<std::int32_t> strata(values.size());
  for (std::size_t rank = 0; rank < order.size(); ++rank) strata[order[rank]] = static_cast<std::int32_t>(10 * rank / order.size());
  return strata;
}

}  // namespace epitaxy
