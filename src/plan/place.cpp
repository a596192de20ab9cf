#include <algorithm>
#include <numeric>

#include "epitaxy/plan/plan.h"

namespace epitaxy {

std::vector<std::size_t> place(std::span<const Lifetime> blocks, std::size_t& total) {
  constexpr std::size_t kAlign = 256;
  std::vector<int> order(blocks.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<std::size_t> offsets(blocks.size(), 0);
  std::vector<int> placed;  // by offset
  total = 0;
  for (const int i : order) {
    const std::size_t bytes = (blocks[i].bytes + kAlign - 1) / kAlign * kAlign;
    std::size_t at = 0;
    for (const int j : placed) {
      if (blocks[j].last < blocks[i].first || blocks[j].first > blocks[i].last) continue;
      if (at + bytes <= offsets[j]) break;  // fits into the gap before j
      at = std::max(at, offsets[j] + (blocks[j].bytes + kAlign - 1) / kAlign * kAlign);
    }
    offsets[i] = at;
    total = std::max(total, at + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i, [&](int a, int b) { return offsets[a] < offsets[b]; }), i);
  }
  return offsets;
}

}  // namespace epitaxy
