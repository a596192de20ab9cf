// Which implementation an operation runs with, where a device has several for a problem: found by timing them, kept as text, so that a run
// can be repeated with the same choices and hence the same bits.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "epitaxy/ops/graph.h"

namespace epitaxy {

class Tuning {
 public:
  /// The variant chosen for a problem; "" where none was.
  const std::string& find(const std::string& problem) const;
  void set(const std::string& problem, const std::string& variant) { choices_[problem] = variant; }
  /// Takes over the other's choices for problems that have none here.
  void merge(const Tuning& other) { choices_.insert(other.choices_.begin(), other.choices_.end()); }
  std::size_t size() const { return choices_.size(); }
  bool operator==(const Tuning&) const = default;

  /// {"problem": "variant", ...}, in the order of the problems.
  std::string to_json() const;
  static Tuning from_json(const std::string& text);

 private:
  std::map<std::string, std::string> choices_;
};

/// What a choice depends on: operation, options, shapes, and the device's profile.
std::string tuning_problem(const Operation& operation, std::span<const TensorSpec> inputs, const Context& context);

/// Seconds that one call takes. The default repeats it for some milliseconds and takes the fastest of three such groups.
using Stopwatch = std::function<double(const Context&, const std::function<void()>&)>;

/// Times the candidates of every problem in the graph that `tuning` has no choice for, on random data in memory that is freed again, and
/// adds the fastest; the default wins where it is within 3%. Answers how many problems were timed.
int tune(const Graph& graph, Tuning& tuning, const Context& context, const Stopwatch& stopwatch = {});

/// Fixes the chosen variants in the graph. A choice that this build does not know is ignored: the default runs.
void apply(const Tuning& tuning, Graph& graph, const Context& context);

}  // namespace epitaxy
