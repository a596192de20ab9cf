// The patterns that fusion looks for.
#pragma once

#include <optional>

#include "epitaxy/plan/fusion.h"

namespace epitaxy {

/// A rewrite that fits: some nodes go, others come in their place.
struct Rewrite {
  std::vector<int> members;       // ascending
  std::vector<Node> replacement;  // the first is the one that the rewrite is known by
};

/// Where rules look. They may add values to the graph, but change nothing else.
struct FusionSite {
  Graph& graph;
  const Uses& uses;
  std::span<const ValueId> kept;

  const Node& node(int n) const { return graph.nodes()[static_cast<std::size_t>(n)]; }
  /// The one node that reads a computed value which nobody else needs; -1 where there is none.
  int only_reader(ValueId value) const;
};

/// A node whose first outputs are given values; the others are new.
Node make_node(const FusionSite& site, OperationPtr operation, std::vector<ValueId> inputs, std::vector<ValueId> outputs,
               const std::string& name);
/// Whether node `n` is that operation; not where n is -1.
bool is(const FusionSite& site, int n, const char* operation);
/// The other operand where node `n` adds `value` to something else; kNoValue where it does not.
ValueId addend(const FusionSite& site, int n, ValueId value);

/// The rewrites of the backward graph.
std::optional<Rewrite> match_backward(Fusion fusion, const FusionSite& site, int first);

/// The rewrite of that kind whose first node is `first`, where it applies.
std::optional<Rewrite> match(Fusion fusion, const FusionSite& site, int first);

}  // namespace epitaxy
