// The memory of a plan, foretold.
#include "plan/execution.h"
#include "plan/persistent.h"
#include "plan/step_graph.h"

namespace epitaxy {

MemorySummary plan_memory(const Model& model, const CompileOptions& options, std::int64_t batch) {
  check_options(model, options);
  MemorySummary sizes = persistent_sizes(model, options);
  const Context context = make_context(options.device);
  const StepGraph step = step_graph(model, options, batch, options.training);
  const auto bytes_of = [&](ValueId id) { return id == kNoValue ? 0 : step.graph().spec(id).bytes(); };
  sizes.slots = Feed::bytes_for(context, bytes_of(step.input()), bytes_of(step.target()));
  sizes.arena = Plan(step.graph(), context, step.fixed, step.kept).arena_bytes();
  return sizes;
}

std::size_t fixed_overhead(Device device) {
  // Measured as the growth of resident memory that no plan accounts for: library code that is first touched, threads, allocator.
  // tests/plan/compiled_model_test.cpp holds the sum against the growth.
  return device.kind == DeviceKind::cuda ? std::size_t{480} << 20 : std::size_t{4} << 20;
}

}  // namespace epitaxy
