#include "epitaxy/data/twins.h"

#include <cstring>
#include <string_view>
#include <unordered_map>

namespace epitaxy {

std::vector<std::int64_t> find_twins(const Dataset& test, const Dataset& train) {
  std::vector<std::int64_t> twins;
  if (test.size() == 0 || train.size() == 0) return twins;
  if (test.inputs.dtype() != train.inputs.dtype() || test.inputs.shape().tail() != train.inputs.shape().tail()) return twins;
  const std::size_t bytes = test.inputs.bytes() / static_cast<std::size_t>(test.size());
  const auto item = [bytes](const Dataset& data, std::int64_t i) {
    return std::string_view(static_cast<const char*>(data.inputs.data()) + static_cast<std::size_t>(i) * bytes, bytes);
  };
  const auto length = [](const Dataset& data, std::int64_t i) {
    return data.lengths ? data.lengths.as<std::int32_t>()[i] : static_cast<std::int32_t>(data.inputs.dim(1));
  };
  std::unordered_multimap<std::size_t, std::int64_t> seen;
  seen.reserve(static_cast<std::size_t>(train.size()));
  const std::hash<std::string_view> hash;
  for (std::int64_t i = 0; i < train.size(); ++i) seen.emplace(hash(item(train, i)), i);
  for (std::int64_t i = 0; i < test.size(); ++i) {
    const auto [first, last] = seen.equal_range(hash(item(test, i)));
    for (auto at = first; at != last; ++at)
      if (length(test, i) == length(train, at->second) && item(test, i) == item(train, at->second)) {
        twins.push_back(i);
        break;
      }
  }
  return twins;
}

std::int64_t count_twins(const Dataset& test, const Dataset& train) { return static_cast<std::int64_t>(find_twins(test, train).size()); }

}  // namespace epitaxy
