// Steps and predictions of a compiled model.
#include "epitaxy/plan/compiled_model.h"

#include "epitaxy/ops/cast.h"
#include "plan/compiled_impl.h"

namespace epitaxy {

CompiledModel::CompiledModel(Model model, CompileOptions options) : impl_(std::make_unique<Impl>(std::move(model), std::move(options))) {}
CompiledModel::~CompiledModel() = default;

const Model& CompiledModel::model() const { return impl_->model; }
const CompileOptions& CompiledModel::options() const { return impl_->options; }

void CompiledModel::reserve(std::span<const std::int64_t> training, std::span<const std::int64_t> evaluation) {
  impl_->reserve(training, evaluation);
}

void CompiledModel::train_step(const Tensor& inputs, const Tensor& targets, float learning_rate, const Draw& draw, const Tensor& lengths) {
  Compiled& compiled = impl_->plan_of(inputs.dim(0), true);
  const Plan& plan = *compiled.plan;
  impl_->gather_inputs(compiled, inputs, lengths);
  std::vector<Feed::Item>& items = impl_->items;
  impl_->check_batch(targets, plan.graph().spec(compiled.target), "targets");
  if (impl_->steps - impl_->metrics_read == kRingRows) impl_->drain_metrics();
  const std::size_t samples = compiled.samples == kNoValue ? 0 : static_cast<std::size_t>(inputs.dim(0));
  require(draw.samples.size() == samples, impl_->model.name(), ": ", draw.samples.size(), " sample numbers, expected ", samples,
          samples > 0 ? " to augment by" : "; compile with augmentation to draw by them");
  items.push_back({plan.tensor(compiled.target).data(), targets.data(), targets.bytes()});
  items.push_back({impl_->persistent.learning_rate.data(), &learning_rate, sizeof learning_rate});
  if (samples > 0) {
    items.push_back({impl_->persistent.epoch.data(), &draw.epoch, sizeof draw.epoch});
    items.push_back({plan.tensor(compiled.samples).data(), draw.samples.data(), draw.samples.size_bytes()});
  }
  impl_->feed.send(items);
  compiled.execution->run();
  ++impl_->steps;
}

std::vector<StepMetrics> CompiledModel::take_metrics() {
  impl_->drain_metrics();
  return std::exchange(impl_->metrics, {});
}

Tensor CompiledModel::predict(const Tensor& inputs, const Tensor& lengths) {
  Compiled& compiled = impl_->plan_of(inputs.dim(0), false);
  const Plan& plan = *compiled.plan;
  impl_->gather_inputs(compiled, inputs, lengths);
  impl_->feed.send(impl_->items);
  compiled.execution->run();
  const Tensor raw = copy_to(cpu_backend(), plan.tensor(compiled.output), *impl_->context.backend);
  if (raw.dtype() == DType::fp32) return raw;
  return epitaxy::run(*cast(DType::fp32), {raw}, {&cpu_backend(), {}, true})[0];
}

std::int64_t CompiledModel::step() const { return impl_->steps; }

MemorySummary CompiledModel::memory() const {
  MemorySummary sizes = persistent_sizes(impl_->model, impl_->options);
  sizes.arena = impl_->arena ? impl_->arena->bytes() : 0;
  sizes.slots = impl_->feed.bytes();
  return sizes;
}

const Plan& CompiledModel::training_plan(std::int64_t batch) { return *impl_->plan_of(batch, true).plan; }
const Plan& CompiledModel::evaluation_plan(std::int64_t batch) { return *impl_->plan_of(batch, false).plan; }

}  // namespace epitaxy
