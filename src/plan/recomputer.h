// A training step with some forward values dropped and computed again: which may be, and what the step then takes.
#pragma once

#include <algorithm>
#include <set>

#include "plan/layout.h"
#include "plan/step_graph.h"

namespace epitaxy {

/// A graph with some values dropped, and what it takes.
struct Attempt {
  Graph graph;
  std::vector<NodeMemory> memory;  // by node
  Layout layout;
  std::size_t peak = 0;  // most bytes alive at once: a lower bound of the arena
  int peak_node = 0;
  double area = 0;              // bytes alive, summed over nodes
  double flops = 0, bytes = 0;  // of the clones
  std::size_t arena() const;
};

class Recomputer {
 public:
  using Dropped = std::set<ValueId>;  // values that are no views

  Recomputer(const StepGraph& step, const Context& context);
  /// Values that the backward pass reads and that may be computed again, in the order of computation.
  const std::vector<ValueId>& candidates() const { return candidates_; }
  std::size_t bytes(ValueId id) const { return base_.spec(id).bytes(); }
  /// Time of computing a value again, in units of a byte moved.
  double price(ValueId id) const;
  Attempt attempt(const Dropped& dropped) const;
  /// Whether a value is kept, unused, while the most memory is taken.
  bool alive_at_peak(const Attempt& attempt, ValueId id) const;

 private:
  Cost cost_of(int n) const;
  void find_roots();
  void find_candidates();
  /// Whether a node may run a second time: it belongs to the forward pass and changes nothing that is kept.
  bool can_run_again(int n) const;
  /// Whether a value is computed again: it was dropped, or it is only needed for another that was.
  bool is_dropped(ValueId id, const Dropped& dropped) const;
  /// Where a backward node finds a forward value; appends the clones that compute it again. `now` holds the clones made so far.
  ValueId fetch(ValueId id, const Dropped& dropped, std::vector<ValueId>& now, std::vector<Node>& nodes, Attempt& result) const;

  const StepGraph& step_;
  const Graph& base_;
  Uses uses_;
  std::vector<NodeMemory> memory_;
  double flops_per_byte_ = 1;
  std::vector<ValueId> root_;        // by value: the one whose memory a view shares
  std::vector<char> saved_, again_;  // by value: read by the backward pass (roots); its node may run again
  std::vector<ValueId> candidates_;
};

}  // namespace epitaxy
