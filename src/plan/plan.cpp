#include "epitaxy/plan/plan.h"

#include <algorithm>
#include <limits>

namespace epitaxy {

namespace {
constexpr int kFixed = -1;
constexpr int kForever = std::numeric_limits<int>::max();
}  // namespace

Plan::Plan(Graph graph, const Context& context, std::span<const ValueId> fixed, std::span<const ValueId> kept)
    : graph_(std::move(graph)), context_(context) {
  const auto count = graph_.values().size();
  constexpr int kUnplaced = -2;
  block_of_.assign(count, kUnplaced);
  for (const ValueId id : fixed) block_of_[id] = kFixed;

  std::vector<int> last_use(count, 0);
  const int nodes = static_cast<int>(graph_.nodes().size());
  for (int n = 0; n < nodes; ++n)
    for (const ValueId id : graph_.nodes()[n].inputs) last_use[id] = n;
  for (const ValueId id : kept) last_use[id] = kForever;

  std::vector<Lifetime> blocks;
  const auto open_block = [&](std::size_t bytes, int first, int last) {
    blocks.push_back({bytes, first, last});
    return static_cast<int>(blocks.size()) - 1;
  };
  for (std::size_t id = 0; id < count; ++id)  // what is fed lives from the start
    if (block_of_[id] == kUnplaced && (graph_.values()[id].role == Role::input || graph_.values()[id].role == Role::target))
      block_of_[id] = open_block(graph_.values()[id].spec.bytes(), 0, last_use[id]);

  for (int n = 0; n < nodes; ++n) {
    const Node& node = graph_.nodes()[n];
    const auto specs = graph_.specs(node.inputs);
    nodes_.emplace_back().prepared = node.operation->prepare(specs, context_);
    const Prepared* prepared = nodes_.back().prepared.get();
    for (std::size_t o = 0; o < node.outputs.size(); ++o) {
      const ValueId id = node.outputs[o];
      if (block_of_[id] != kUnplaced) continue;
      const int output = static_cast<int>(o);
      const std::size_t bytes =
          node.operation->is_opaque(output) ? node.operation->output_bytes(output, specs, context_, prepared) : graph_.spec(id).bytes();
      const int source = node.operation->is_view() ? 0 : node.operation->in_place(static_cast<int>(o));
      if (source >= 0) {
        const int block = block_of_[node.inputs[source]];
        const auto readers = std::count_if(node.inputs.begin(), node.inputs.end(), [&](ValueId in) { return block_of_[in] == block; });
        const bool dies = block >= 0 && blocks[block].last == n && readers == 1 && graph_.spec(node.inputs[source]).bytes() == bytes;
        if (node.operation->is_view() || dies) {
          block_of_[id] = block;
          if (block >= 0) blocks[block].last = std::max(blocks[block].last, std::max(n, last_use[id]));
          continue;
        }
      }
      block_of_[id] = open_block(bytes, n, std::max(n, last_use[id]));
    }
  }

  for (int n = 0; n < nodes; ++n) {
    const Node& node = graph_.nodes()[n];
    const auto specs = graph_.specs(node.inputs);
    workspace_bytes_.push_back(node.operation->workspace_bytes(specs, context_, nodes_[n].prepared.get()));
    workspace_block_.push_back(workspace_bytes_.back() ? open_block(workspace_bytes_.back(), n, n) : kFixed);
  }
  offsets_ = place(blocks, arena_bytes_);
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

void Plan::run() const {
  for (const auto& node : nodes_) run(node);
}

}  // namespace epitaxy
