#include "plan/recompute.h"

#include <algorithm>
#include <set>

namespace epitaxy {

namespace {

constexpr std::size_t kSmall = 4096;  // bytes that are not worth a node

/// A graph with some values dropped, and what it takes.
struct Attempt {
  Graph graph;
  std::vector<NodeMemory> memory;  // by node
  Layout layout;
  std::size_t peak = 0;  // most bytes alive at once: a lower bound of the arena
  int peak_node = 0;
  double area = 0;  // bytes alive, summed over nodes
  int clones = 0;
  double flops = 0, bytes = 0;  // of the clones
  std::size_t arena() const {
    std::size_t total = 0;
    place(layout.blocks, total);
    return total;
  }
};

class Recomputer {
 public:
  using Dropped = std::set<ValueId>;  // storage roots

  Recomputer(const StepGraph& step, const Context& context) : step_(step), base_(step.graph()), uses_(base_.uses()) {
    flops_per_byte_ = context.device().kind == DeviceKind::cpu ? 10 : 100;
    for (const Node& node : base_.nodes()) {
      const auto prepared = node.operation->prepare(base_.specs(node.inputs), context);
      memory_.push_back(memory_of(base_, node, context, prepared.get()));
    }
    find_roots();
    find_candidates();
  }

  const std::vector<ValueId>& candidates() const { return candidates_; }
  std::size_t bytes(ValueId id) const { return base_.spec(id).bytes(); }
  /// Time of computing a value again, in units of a byte moved.
  double price(ValueId id) const {
    const Cost cost = cost_of(uses_.producer[id]);
    return std::max(cost.bytes, cost.flops / flops_per_byte_);
  }

  Attempt attempt(const Dropped& dropped) const {
    Attempt result;
    result.graph = base_;
    std::vector<Node> nodes;
    std::vector<ValueId> now(base_.values().size());  // where each value is found; its clone once there is one
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

  /// Whether a value is kept, in vain, while the most memory is taken.
  bool alive_at_peak(const Attempt& attempt, ValueId id) const {
    const int block = attempt.layout.block_of[id];
    if (block < 0) return false;
    const Lifetime& life = attempt.layout.blocks[block];
    return life.first < attempt.peak_node && attempt.peak_node < life.last;
  }

 private:
  Cost cost_of(int n) const {
    const Node& node = base_.nodes()[n];
    return node.operation->cost(base_.specs(node.inputs));
  }

  /// The value whose memory a view shares.
  void find_roots() {
    root_.resize(base_.values().size());
    for (std::size_t id = 0; id < root_.size(); ++id) root_[id] = static_cast<ValueId>(id);
    for (const Node& node : base_.nodes())
      if (node.operation->is_view()) root_[node.outputs[0]] = root_[node.inputs[0]];
  }

  /// Whether a node may run a second time: it belongs to the forward pass and changes nothing that is kept.
  bool can_run_again(int n) const {
    if (n < 0) return false;
    const Node& node = base_.nodes()[n];
    if (node.backward) return false;
    for (std::size_t o = 0; o < node.outputs.size(); ++o) {
      const ValueId id = node.outputs[o];
      const bool kept = std::find(step_.fixed.begin(), step_.fixed.end(), id) != step_.fixed.end() ||
                        std::find(step_.kept.begin(), step_.kept.end(), id) != step_.kept.end();
      if (base_.value(id).role != Role::intermediate || kept || node.operation->is_opaque(static_cast<int>(o))) return false;
    }
    return std::none_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) { return base_.value(id).role == Role::target; });
  }

  void find_candidates() {
    saved_.assign(base_.values().size(), 0);
    again_.assign(base_.values().size(), 0);
    for (std::size_t id = 0; id < saved_.size(); ++id) {
      const auto& readers = uses_.readers[id];
      if (std::any_of(readers.begin(), readers.end(), [&](int n) { return base_.nodes()[n].backward; })) saved_[root_[id]] = 1;
      again_[id] = can_run_again(uses_.producer[id]);
    }
    for (std::size_t id = 0; id < saved_.size(); ++id)
      if (saved_[id] && again_[id] && root_[id] == static_cast<ValueId>(id) && base_.spec(static_cast<ValueId>(id)).bytes() >= kSmall)
        candidates_.push_back(static_cast<ValueId>(id));
  }

  /// Whether a value is computed again: it was dropped, or it is only needed for another that was.
  bool is_dropped(ValueId id, const Dropped& dropped) const {
    const ValueId root = root_[id];
    return dropped.contains(root) || (!saved_[root] && again_[root] && base_.spec(root).bytes() >= kSmall);
  }

  /// Where a backward node finds a forward value; appends the clones that compute it again.
  ValueId fetch(ValueId id, const Dropped& dropped, std::vector<ValueId>& now, std::vector<Node>& nodes, Attempt& result) const {
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
    ++result.clones;
    result.flops += cost.flops;
    result.bytes += cost.bytes;
    nodes.push_back(std::move(clone));
    result.memory.push_back(memory_[n]);
    return now[id];
  }

  static void find_peak(Attempt& attempt) {
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

  const StepGraph& step_;
  const Graph& base_;
  Uses uses_;
  std::vector<NodeMemory> memory_;
  double flops_per_byte_ = 1;
  std::vector<ValueId> root_;        // by value
  std::vector<char> saved_, again_;  // by value: read by the backward pass (roots); its node may run again
  std::vector<ValueId> candidates_;  // in the order of computation
};

/// A graph with the arena that it needs.
struct Placed {
  Attempt attempt;
  std::size_t arena = 0;
};

/// One value at a time, while that lowers what is alive at the peak; answers the first that fits, else the smallest.
Placed greedily(const Recomputer& recomputer, Recomputer::Dropped dropped, std::size_t budget) {
  Attempt now = recomputer.attempt(dropped);
  Placed best{now, now.arena()};
  std::set<ValueId> refused;
  bool progress = false;
  while (best.arena > budget) {
    ValueId choice = kNoValue;
    double most = 0;
    for (const ValueId id : recomputer.candidates()) {
      if (dropped.contains(id) || refused.contains(id) || !recomputer.alive_at_peak(now, id)) continue;
      if (const double worth = static_cast<double>(recomputer.bytes(id)) / recomputer.price(id); worth > most) most = worth, choice = id;
    }
    if (choice == kNoValue) {
      if (!progress) break;
      refused.clear();  // what did not help before may help now
      progress = false;
      continue;
    }
    dropped.insert(choice);
    Attempt next = recomputer.attempt(dropped);
    if (next.peak < now.peak || (next.peak == now.peak && next.area < now.area)) {
      now = std::move(next);
      progress = true;
      if (const std::size_t arena = now.arena(); arena < best.arena) best = {now, arena};
    } else {
      dropped.erase(choice);
      refused.insert(choice);
    }
  }
  return best;
}

/// Keeps only values between segments of about equal size.
Recomputer::Dropped segments(const Recomputer& recomputer, int count) {
  std::size_t total = 0, filled = 0;
  for (const ValueId id : recomputer.candidates()) total += recomputer.bytes(id);
  Recomputer::Dropped dropped;
  for (const ValueId id : recomputer.candidates()) {
    filled += recomputer.bytes(id);
    if (filled * static_cast<std::size_t>(count) >= total)
      filled = 0;  // a checkpoint
    else
      dropped.insert(id);
  }
  return dropped;
}

}  // namespace

RecomputeReport recompute_into(StepGraph& step, const Context& context, std::size_t budget) {
  const Recomputer recomputer(step, context);
  const std::size_t before = recomputer.attempt({}).arena();
  RecomputeReport report;
  report.arena_before = report.arena = before;
  if (before <= budget || recomputer.candidates().empty()) return report;

  Placed best = greedily(recomputer, {}, budget);
  if (best.arena > budget)
    for (const int count : {2, 3, 4, 6, 8, 12, 16, 24, 32}) {
      Placed next = greedily(recomputer, segments(recomputer, count), budget);
      const bool better = best.arena > budget ? next.arena < best.arena : next.arena <= budget && next.attempt.flops < best.attempt.flops;
      if (better) best = std::move(next);
    }
  if (best.arena >= before) return report;
  report.arena = best.arena;
  report.flops = best.attempt.flops;
  report.bytes = best.attempt.bytes;
  for (const Node& node : best.attempt.graph.nodes())
    if (node.name.ends_with("/again") && !node.operation->is_view())
      report.nodes.push_back({node.name.substr(0, node.name.size() - 6), node.operation->name()});
  step.graph() = std::move(best.attempt.graph);
  return report;
}

}  // namespace epitaxy
