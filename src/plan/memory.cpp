// The memory of a plan, foretold; and what to say where it is too much.
#include <limits>
#include <sstream>

#include "plan/execution.h"
#include "plan/memory_text.h"
#include "plan/persistent.h"
#include "plan/recompute.h"

namespace epitaxy {

namespace {

std::size_t memory_limit(const CompileOptions& options) {
  return options.memory_limit > 0 ? static_cast<std::size_t>(options.memory_limit) : backend_of(options.device).free_memory();
}

/// The largest batch, a power of two below `batch`, that fits; 0 where none does.
std::int64_t fitting_batch(const Model& model, const CompileOptions& options, std::int64_t batch, std::size_t needed, std::size_t limit) {
  const auto fits = [&](std::int64_t size) { return plan_memory(model, options, size).total() + fixed_overhead(options.device) <= limit; };
  if (batch <= 1 || !fits(1)) return 0;
  const double share = static_cast<double>(limit) / static_cast<double>(needed);  // memory grows with the batch, nearly in proportion
  std::int64_t size = 1;
  while (2 * size < batch && static_cast<double>(size) <= share * static_cast<double>(batch)) size *= 2;
  while (size > 1 && !fits(size)) size /= 2;
  return size;
}

}  // namespace

std::string memory_text(double bytes) {
  const bool large = bytes >= 0x1p30;
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out.precision(large || bytes < 10 * 0x1p20 ? 2 : 0);
  out << std::fixed << bytes / (large ? 0x1p30 : 0x1p20) << (large ? " GiB" : " MiB");
  return out.str();
}

MemorySummary plan_memory(const Model& model, const CompileOptions& options, std::int64_t batch) {
  check_options(model, options);
  MemorySummary sizes = persistent_sizes(model, options);
  const Context context = make_context(options.device);
  StepGraph step = step_graph(model, options, batch, options.training);
  if (options.tuning) apply(*options.tuning, step.graph(), context);
  sizes.slots = Feed::bytes_for(context, slot_bytes(step.graph()));
  const std::size_t others = sizes.total() + fixed_overhead(options.device), limit = memory_limit(options);
  sizes.arena = Plan(step.graph(), context, step.fixed, step.kept).arena_bytes();
  if (!options.training || others + sizes.arena <= limit) return sizes;
  sizes.recompute = recompute_into(step, context, limit > others ? limit - others : 0);
  sizes.arena = sizes.recompute.arena;
  return sizes;
}

MemorySummary require_memory(const Model& model, const CompileOptions& options, std::int64_t batch) {
  const std::size_t limit = memory_limit(options);
  const MemorySummary memory = plan_memory(model, options, batch);
  const std::size_t needed = memory.total() + fixed_overhead(options.device);
  if (needed <= limit) return memory;
  const std::int64_t fitting = fitting_batch(model, options, batch, needed, limit);
  std::string remedy =
      fitting > 0 ? text("--batch ", fitting, " fits") : "not even a batch of 1 fits, take a smaller model or smaller images";
  if (options.memory_limit > 0) remedy += text("; or --memory-limit ", (needed + (1 << 20) - 1) >> 20, "M");
  fail("not enough memory: ", options.training ? "training " : "predicting with ", model.name(), " at batch ", batch, " needs ",
       memory_text(static_cast<double>(needed)), memory.recompute.nodes.empty() ? "" : " even where values are computed again", ", but ",
       memory_text(static_cast<double>(limit)),
       options.memory_limit > 0 ? " are allowed (--memory-limit)" : text(" are free on ", name(options.device)), "; ", remedy);
}

std::size_t fixed_overhead(Device device) {
  // Measured as the growth of resident memory that no plan accounts for: library code that is first touched, threads, allocator.
  // tests/plan/compiled_model_test.cpp holds the sum against the growth.
  return device.kind == DeviceKind::cuda ? std::size_t{480} << 20 : std::size_t{4} << 20;
}

}  // namespace epitaxy
