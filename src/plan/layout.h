// When each value of a graph and each node's scratch memory is alive: what memory planning starts from.
#pragma once

#include "epitaxy/plan/plan.h"

namespace epitaxy {

/// What a node takes: bytes of each output, and of scratch memory.
struct NodeMemory {
  std::vector<std::size_t> outputs;
  std::size_t workspace = 0;
};
NodeMemory memory_of(const Graph& graph, const Node& node, const Context& context, const Prepared* prepared);

inline constexpr int kFixed = -1;  // memory that is not the arena's

struct Layout {
  std::vector<int> block_of;         // by value: its block, or kFixed
  std::vector<int> workspace_block;  // by node; kFixed where there is none
  std::vector<Lifetime> blocks;
};
/// `memory` by node. Values in `fixed` outlive a step; those in `kept` are read after it.
Layout lay_out_blocks(const Graph& graph, std::span<const NodeMemory> memory, std::span<const ValueId> fixed,
                      std::span<const ValueId> kept);

}  // namespace epitaxy
