// "kind:key=value,key=value": how the built-in simulators are told what to make.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace epitaxy {

/// Whether `data` is "kind" or "kind:...".
bool names_simulator(std::string_view data, std::string_view kind);

/// The keys of one simulator, in order; messages begin with its name.
class SimulatorKeys {
 public:
  explicit SimulatorKeys(std::string_view kind) : kind_(kind) {}
  /// Calls `set` with each key and value of the text. Rejects another kind, and what is not key=value.
  void each(std::string_view text, const std::function<void(std::string_view key, std::string_view value)>& set) const;

  double number(std::string_view key, std::string_view value) const;
  std::int64_t whole(std::string_view key, std::string_view value) const;
  std::uint64_t seed(std::string_view value) const;
  /// "7-10", or "7" for both.
  std::pair<double, double> range(std::string_view key, std::string_view value) const;

 private:
  std::string kind_;
};

}  // namespace epitaxy
