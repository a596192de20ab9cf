#include "plan/layout.h"

#include <algorithm>
#include <limits>

namespace epitaxy {

NodeMemory memory_of(const Graph& graph, const Node& node, const Context& context, const Prepared* prepared) {
  const auto specs = graph.specs(node.inputs);
  NodeMemory memory;
  for (std::size_t o = 0; o < node.outputs.size(); ++o) {
    const int output = static_cast<int>(o);
    memory.outputs.push_back(node.operation->is_opaque(output) ? node.operation->output_bytes(output, specs, context, prepared)
                                                               : graph.spec(node.outputs[o]).bytes());
  }
  memory.workspace = node.operation->workspace_bytes(specs, context, prepared);
  return memory;
}

Layout lay_out_blocks(const Graph& graph, std::span<const NodeMemory> memory, std::span<const ValueId> fixed,
                      std::span<const ValueId> kept) {
  constexpr int kForever = std::numeric_limits<int>::max(), kUnplaced = -2;
  const auto count = graph.values().size();
  const int nodes = static_cast<int>(graph.nodes().size());
  Layout layout;
  auto& blocks = layout.blocks;
  layout.block_of.assign(count, kUnplaced);
  for (const ValueId id : fixed) layout.block_of[id] = kFixed;

  std::vector<int> last_use(count, 0);
  for (int n = 0; n < nodes; ++n)
    for (const ValueId id : graph.nodes()[n].inputs) last_use[id] = n;
  for (const ValueId id : kept) last_use[id] = kForever;

  const auto open_block = [&](std::size_t bytes, int first, int last) {
    blocks.push_back({bytes, first, last});
    return static_cast<int>(blocks.size()) - 1;
  };
  for (std::size_t id = 0; id < count; ++id)  // what is fed lives from the start
    if (layout.block_of[id] == kUnplaced && (graph.values()[id].role == Role::input || graph.values()[id].role == Role::target))
      layout.block_of[id] = open_block(graph.values()[id].spec.bytes(), 0, last_use[id]);

  for (int n = 0; n < nodes; ++n) {
    const Node& node = graph.nodes()[n];
    for (std::size_t o = 0; o < node.outputs.size(); ++o) {
      const ValueId id = node.outputs[o];
      if (layout.block_of[id] != kUnplaced) continue;
      const std::size_t bytes = memory[n].outputs[o];
      const int source = node.operation->is_view() ? 0 : node.operation->in_place(static_cast<int>(o));
      if (source >= 0) {
        const int block = layout.block_of[node.inputs[source]];
        const auto readers =
            std::count_if(node.inputs.begin(), node.inputs.end(), [&](ValueId in) { return layout.block_of[in] == block; });
        const bool dies = block >= 0 && blocks[block].last == n && readers == 1 && graph.spec(node.inputs[source]).bytes() == bytes;
        if (node.operation->is_view() || dies) {
          layout.block_of[id] = block;
          if (block >= 0) blocks[block].last = std::max(blocks[block].last, std::max(n, last_use[id]));
          continue;
        }
      }
      layout.block_of[id] = open_block(bytes, n, std::max(n, last_use[id]));
    }
  }
  for (int n = 0; n < nodes; ++n) layout.workspace_block.push_back(memory[n].workspace ? open_block(memory[n].workspace, n, n) : kFixed);
  return layout;
}

}  // namespace epitaxy
