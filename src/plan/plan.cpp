#include "epitaxy/plan/plan.h"

#include "plan/layout.h"

namespace epitaxy {

Plan::Plan(Graph graph, const Context& context, std::span<const ValueId> fixed, std::span<const ValueId> kept)
    : graph_(std::move(graph)), context_(context) {
  std::vector<NodeMemory> memory;
  for (const Node& node : graph_.nodes()) {
    nodes_.emplace_back().prepared = node.operation->prepare(graph_.specs(node.inputs), context_);
    memory.push_back(memory_of(graph_, node, context_, nodes_.back().prepared.get()));
    workspace_bytes_.push_back(memory.back().workspace);
  }
  Layout layout = lay_out_blocks(graph_, memory, fixed, kept);
  block_of_ = std::move(layout.block_of);
  workspace_block_ = std::move(layout.workspace_block);
  offsets_ = place(layout.blocks, arena_bytes_);
}

void Plan::bind(const std::shared_ptr<Buffer>& arena, const std::map<ValueId, Tensor>& fixed) {
  tensors_.assign(graph_.values().size(), {});
  for (std::size_t id = 0; id < tensors_.size(); ++id)
    if (block_of_[id] >= 0) tensors_[id] = Tensor(arena, offsets_[block_of_[id]], graph_.values()[id].spec);
  for (const auto& [id, tensor] : fixed) {
    require(tensor.spec() == graph_.spec(id), "plan: ", graph_.value(id).name, " is ", graph_.spec(id), ", bound to ", tensor.spec());
    tensors_[id] = tensor;
  }
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    PlannedNode& planned = nodes_[n];
    const Node& node = graph_.nodes()[n];
    planned.node = &node;
    planned.inputs.clear();
    planned.outputs.clear();
    if (node.operation->is_view() && block_of_[node.outputs[0]] == kFixed)  // a view of a fixed value
      tensors_[node.outputs[0]] = tensors_[node.inputs[0]].reshape(graph_.spec(node.outputs[0]).shape);
    for (const ValueId id : node.inputs) planned.inputs.push_back(tensors_[id]);
    for (const ValueId id : node.outputs) planned.outputs.push_back(tensors_[id]);
    const TensorSpec scratch{DType::uint8, {static_cast<std::int64_t>(workspace_bytes_[n])}};
    planned.workspace = workspace_block_[n] >= 0 ? Tensor(arena, offsets_[workspace_block_[n]], scratch) : Tensor();
    for (const auto* side : {&planned.inputs, &planned.outputs})
      for (const Tensor& tensor : *side) require(static_cast<bool>(tensor), "plan: a value of node ", node.name, " has no memory");
  }
}

void Plan::run(const PlannedNode& node) const {
  if (!node.node->operation->is_view())
    node.node->operation->run({node.inputs, node.outputs, node.workspace, node.prepared.get(), context_});
}

void Plan::run(std::size_t first, std::size_t last) const {
  for (std::size_t n = first; n < last; ++n) run(nodes_[n]);
}

}  // namespace epitaxy
