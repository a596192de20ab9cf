#include "simulator_keys.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "epitaxy/data/csv.h"
#include "epitaxy/error.h"

namespace epitaxy {

bool names_simulator(std::string_view data, std::string_view kind) {
  return data.starts_with(kind) && (data.size() == kind.size() || data[kind.size()] == ':');
}

void SimulatorKeys::each(std::string_view text, const std::function<void(std::string_view, std::string_view)>& set) const {
  require(names_simulator(text, kind_), "'", text, "' is not ", kind_, ":key=value,...");
  text.remove_prefix(std::min(kind_.size() + 1, text.size()));
  std::set<std::string_view> known;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, comma);
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos) reject(kind_, ": '", item, "' is not key=value");
    if (!known.insert(item.substr(0, equals)).second) reject(kind_, ": ", item.substr(0, equals), " is given twice; give it once");
    set(item.substr(0, equals), item.substr(equals + 1));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
}

double SimulatorKeys::number(std::string_view key, std::string_view value) const {
  const auto number = parse_number(value);
  if (!number || !std::isfinite(*number)) reject(kind_, ": ", key, "=", value, " is not a number");
  return *number;
}

std::int64_t SimulatorKeys::whole(std::string_view key, std::string_view value) const {
  const double found = number(key, value);
  if (found != std::floor(found) || std::fabs(found) > 9e15) reject(kind_, ": ", key, "=", value, " is not a whole number");
  return static_cast<std::int64_t>(found);
}

std::uint64_t SimulatorKeys::seed(std::string_view value) const {
  const std::int64_t found = whole("seed", value);
  if (found < 0) reject(kind_, ": seed=", value, " is negative");
  return static_cast<std::uint64_t>(found);
}

std::pair<double, double> SimulatorKeys::range(std::string_view key, std::string_view value) const {
  const std::size_t dash = value.find('-', 1);
  const double low = number(key, value.substr(0, dash));
  return {low, dash == std::string_view::npos ? low : number(key, value.substr(dash + 1))};
}

}  // namespace epitaxy
