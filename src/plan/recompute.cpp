#include "plan/recompute.h"

#include "plan/recomputer.h"

namespace epitaxy {

namespace {

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
