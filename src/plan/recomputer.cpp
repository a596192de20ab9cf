#include "plan/recomputer.h"

namespace epitaxy {

namespace {

constexpr std::size_t kSmall = 4096;  // bytes that are not worth a node

void find_peak(Attempt& attempt) {
  const std::size_t count = attempt.graph.nodes().size();
  std::vector<std::int64_t> change(count + 1, 0);
  for (const Lifetime& block : attempt.layout.blocks) {
    const auto bytes = static_cast<std::int64_t>((block.bytes + 255) / 256 * 256);
    change[block.first] += bytes;
    change[std::min<std::size_t>(static_cast<std::size_t>(block.last), count - 1) + 1] -= bytes;
  }
  std::int64_t alive = 0;
  for (std::size_t n = 0; n < count; ++n) {
    alive += change[n];
    attempt.area += static_cast<double>(alive);
    if (static_cast<std::size_t>(alive) > attempt.peak) {
      attempt.peak = static_cast<std::size_t>(alive);
      attempt.peak_node = static_cast<int>(n);
    }
  }
}

}  // namespace

std::size_t Attempt::arena() const {
  std::size_t total = 0;
  place(layout.blocks, total);
  return total;
}

Recomputer::Recomputer(const StepGraph& step, const Context& context) : step_(step), base_(step.graph()), uses_(base_.uses()) {
  flops_per_byte_ = context.device().kind == DeviceKind::cpu ? 10 : 100;
  for (const Node& node : base_.nodes()) {
    const auto prepared = node.operation->prepare(base_.specs(node.inputs), context);
    memory_.push_back(memory_of(base_, node, context, prepared.get()));
  }
  find_roots();
  find_candidates();
}

Cost Recomputer::cost_of(int n) const {
  const Node& node = base_.nodes()[n];
  return node.operation->cost(base_.specs(node.inputs));
}

double Recomputer::price(ValueId id) const {
  const Cost cost = cost_of(uses_.producer[id]);
  return std::max(cost.bytes, cost.flops / flops_per_byte_);
}

Attempt Recomputer::attempt(const Dropped& dropped) const {
  Attempt result;
  result.graph = base_;
  std::vector<Node> nodes;
  std::vector<ValueId> now(base_.values().size());  // where each value is found: its clone, once there is one
  for (std::size_t id = 0; id < now.size(); ++id) now[id] = static_cast<ValueId>(id);
  for (std::size_t n = 0; n < base_.nodes().size(); ++n) {
    Node node = base_.nodes()[n];
    if (node.backward)
      for (ValueId& id : node.inputs) id = fetch(id, dropped, now, nodes, result);
    nodes.push_back(std::move(node));
    result.memory.push_back(memory_[n]);
  }
  result.graph.set_nodes(std::move(nodes));
  result.layout = lay_out_blocks(result.graph, result.memory, step_.fixed, step_.kept);
  find_peak(result);
  return result;
}

bool Recomputer::alive_at_peak(const Attempt& attempt, ValueId id) const {
  const int block = attempt.layout.block_of[id];
  if (block < 0) return false;
  const Lifetime& life = attempt.layout.blocks[block];
  return life.first < attempt.peak_node && attempt.peak_node < life.last;
}

void Recomputer::find_roots() {
  root_.resize(base_.values().size());
  for (std::size_t id = 0; id < root_.size(); ++id) root_[id] = static_cast<ValueId>(id);
  for (const Node& node : base_.nodes())
    if (node.operation->is_view()) root_[node.outputs[0]] = root_[node.inputs[0]];
}

bool Recomputer::can_run_again(int n) const {
  if (n < 0) return false;
  const Node& node = base_.nodes()[n];
  if (node.backward) return false;
  const auto outlives = [&](ValueId id) {
    return std::find(step_.fixed.begin(), step_.fixed.end(), id) != step_.fixed.end() ||
           std::find(step_.kept.begin(), step_.kept.end(), id) != step_.kept.end();
  };
  for (std::size_t o = 0; o < node.outputs.size(); ++o) {
    const ValueId id = node.outputs[o];
    if (base_.value(id).role != Role::intermediate || outlives(id) || node.operation->is_opaque(static_cast<int>(o))) return false;
  }
  return std::none_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) { return base_.value(id).role == Role::target; });
}

void Recomputer::find_candidates() {
  saved_.assign(base_.values().size(), 0);
  again_.assign(base_.values().size(), 0);
  for (std::size_t id = 0; id < saved_.size(); ++id) {
    const auto& readers = uses_.readers[id];
    if (std::any_of(readers.begin(), readers.end(), [&](int n) { return base_.nodes()[n].backward; })) saved_[root_[id]] = 1;
    again_[id] = can_run_again(uses_.producer[id]);
  }
  for (std::size_t id = 0; id < saved_.size(); ++id)
    if (saved_[id] && again_[id] && root_[id] == static_cast<ValueId>(id) && bytes(static_cast<ValueId>(id)) >= kSmall)
      candidates_.push_back(static_cast<ValueId>(id));
}

bool Recomputer::is_dropped(ValueId id, const Dropped& dropped) const {
  const ValueId root = root_[id];
  return dropped.contains(root) || (!saved_[root] && again_[root] && bytes(root) >= kSmall);
}

ValueId Recomputer::fetch(ValueId id, const Dropped& dropped, std::vector<ValueId>& now, std::vector<Node>& nodes, Attempt& result) const {
  const int n = uses_.producer[id];
  if (now[id] != id || n < 0 || !again_[id] || !is_dropped(id, dropped)) return now[id];
  Node clone = base_.nodes()[n];
  for (ValueId& input : clone.inputs) input = fetch(input, dropped, now, nodes, result);
  clone.backward = true;
  clone.name += "/again";
  for (ValueId& output : clone.outputs) {
    const Value value = base_.value(output);
    const ValueId fresh = result.graph.add_value(value.name + "/again", value.spec, Role::intermediate);
    if (is_dropped(output, dropped)) now[output] = fresh;
    output = fresh;
  }
  const Cost cost = cost_of(n);
  result.flops += cost.flops;
  result.bytes += cost.bytes;
  nodes.push_back(std::move(clone));
  result.memory.push_back(memory_[n]);
  return now[id];
}

}  // namespace epitaxy
