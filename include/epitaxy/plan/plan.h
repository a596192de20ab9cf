// A plan: a graph with every value's place in memory decided, ready to run again and again without allocating.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "epitaxy/ops/graph.h"

namespace epitaxy {

/// Lifetime of one block of memory over node indices, inclusive.
struct Lifetime {
  std::size_t bytes = 0;
  int first = 0, last = 0;
};
/// Offsets (multiples of 256) such that blocks alive together never overlap: largest first, each at the lowest fitting offset (Pisarchyk
/// & Lee 2020). `total` receives the arena's size.
std::vector<std::size_t> place(std::span<const Lifetime> blocks, std::size_t& total);

/// One node bound to memory.
struct PlannedNode {
  const Node* node = nullptr;
  std::vector<Tensor> inputs, outputs;
  Tensor workspace;
  std::shared_ptr<Prepared> prepared;
};

class Plan {
 public:
  /// Values in `fixed` outlive a step (parameters, states, scalars) and get their memory in bind(); every other value goes to the arena.
  /// Values in `kept` stay readable after the run.
  Plan(Graph graph, const Context& context, std::span<const ValueId> fixed, std::span<const ValueId> kept);
  /// Bytes of arena the plan needs.
  std::size_t arena_bytes() const { return arena_bytes_; }
  /// Gives memory to the arena's values and to the fixed ones (by value id); called again when a larger arena replaces it.
  void bind(const std::shared_ptr<Buffer>& arena, const std::map<ValueId, Tensor>& fixed);
  const Graph& graph() const { return graph_; }
  /// The memory of a value; valid once bound.
  const Tensor& tensor(ValueId id) const { return tensors_[static_cast<std::size_t>(id)]; }
  const std::vector<PlannedNode>& nodes() const { return nodes_; }
  /// Runs one node, or nodes [first, last) in order.
  void run(const PlannedNode& node) const;
  void run(std::size_t first, std::size_t last) const;

 private:
  Graph graph_;
  Context context_;
  std::vector<Tensor> tensors_;
  std::vector<int> block_of_;         // by value; kFixed where the memory is not the arena's
  std::vector<int> workspace_block_;  // by node; kFixed where there is none
  std::vector<std::size_t> workspace_bytes_;
  std::vector<std::size_t> offsets_;  // by block
  std::vector<PlannedNode> nodes_;
  std::size_t arena_bytes_ = 0;
};

}  // namespace epitaxy
