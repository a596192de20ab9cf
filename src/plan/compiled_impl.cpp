#include "plan/compiled_impl.h"

#include <algorithm>

#include "epitaxy/ops/cast.h"
#include "epitaxy/ops/loss_scale.h"
#include "plan/memory_text.h"
#include "plan/recompute.h"

namespace epitaxy {

CompiledModel::Impl::Impl(Model m, CompileOptions o)
    : model(std::move(m)), options(std::move(o)), context(make_context(options.device)), feed(context) {
  check_options(model, options);
  const std::size_t bytes = persistent_sizes(model, options).total();
  ensure_free(bytes, "the parameters of " + model.name());
  const auto buffer = std::make_shared<Buffer>(*context.backend, bytes);
  context.backend->zero(buffer->data(), bytes, context.stream);
  persistent = lay_out(model, options, buffer);
  layout = flat_layout(model.parameters());
  if (!options.mean.empty()) {
    write(persistent.mean, options.mean.data());
    write(persistent.scale, options.scale.data());
  }
  if (persistent.class_weights) write(persistent.class_weights, options.class_weights.data());
  if (options.training) {
    const float one = 1.0f;
    write(persistent.gradient_scale, &one);
    if (persistent.augment_seed) write(persistent.augment_seed, &options.seed);
    if (persistent.loss_scale) write(persistent.loss_scale, &kFirstLossScale);
  }
  std::size_t s = 0;
  for (const auto& state : model.states()) {
    const std::vector<float> start(static_cast<std::size_t>(state.shape.count()), state.start);
    write(persistent.states[s++], start.data());
  }
  const auto values = initial_values(model, options.seed);
  for (std::size_t i = 0; i < values.size(); ++i) write_parameter(i, values[i]);
  round_copy();
}

void CompiledModel::Impl::ensure_free(std::size_t bytes, const std::string& what) const {
  const std::size_t available = context.backend->free_memory();
  if (bytes > available)
    fail("not enough memory on ", name(options.device), ": ", what, " takes ", bytes >> 20, " MiB, ", available >> 20,
         " MiB are free; use a smaller --batch or smaller images");
}

void CompiledModel::Impl::check_batch(const Tensor& given, const TensorSpec& wanted, const char* what) const {
  require(given.spec() == wanted, model.name(), ": ", what, " are ", given.spec(), ", expected ", wanted);
}

void CompiledModel::Impl::gather_inputs(const Compiled& compiled, const Tensor& inputs, const Tensor& lengths) {
  check_batch(inputs, compiled.plan->graph().spec(compiled.input), "inputs");
  items.assign({{compiled.plan->tensor(compiled.input).data(), inputs.data(), inputs.bytes()}});
  if (compiled.lengths == kNoValue) {
    require(!lengths, model.name(), ": takes sequences of ", inputs.dim(1),
            " steps and got shorter ones; make it with_lengths(), or train it on data that hold shorter ones too");
    return;
  }
  const Tensor& to = compiled.plan->tensor(compiled.lengths);
  whole.assign(static_cast<std::size_t>(inputs.dim(0)), static_cast<std::int32_t>(inputs.dim(1)));
  if (lengths) {
    check_batch(lengths, to.spec(), "lengths");
    for (const std::int32_t length : lengths.span<std::int32_t>())
      require(length >= 1 && length <= inputs.dim(1), model.name(), ": lengths lie in [1, ", inputs.dim(1), "], got ", length);
  }
  items.push_back({to.data(), lengths ? lengths.data() : whole.data(), to.bytes()});
}

void CompiledModel::Impl::write(const Tensor& to, const void* from) {
  context.backend->copy(to.data(), from, to.bytes(), context.stream);
  context.backend->synchronize(context.stream);
}

std::vector<float> CompiledModel::Impl::read(const Tensor& from) const {
  std::vector<float> result(static_cast<std::size_t>(from.count()));
  context.backend->synchronize(context.stream);
  context.backend->copy(result.data(), from.data(), from.bytes(), context.stream);
  context.backend->synchronize(context.stream);
  return result;
}

Tensor CompiledModel::Impl::flat_view(const Tensor& flat, std::size_t i, const Shape& shape) const {
  return flat.slice(layout.offsets[i], shape.count()).reshape(shape);
}

void CompiledModel::Impl::write_parameter(std::size_t i, const Tensor& value) {
  write(flat_view(persistent.parameters, i, value.shape()), value.data());
}

void CompiledModel::Impl::round_copy() {
  if (!persistent.copy) return;
  const Tensor in[] = {persistent.parameters}, out[] = {persistent.copy};
  cast(persistent.copy.dtype())->run({in, out, {}, nullptr, context});
  context.backend->synchronize(context.stream);
}

std::map<ValueId, Tensor> CompiledModel::Impl::fixed_tensors(const StepGraph& step) const {
  const TrainingGraph& t = step.values;
  const BuiltModel& built = t.built;
  std::map<ValueId, Tensor> fixed;
  for (std::size_t i = 0; i < built.parameters.size(); ++i) {
    const TensorSpec& spec = built.graph.spec(built.parameters[i]);
    fixed[built.parameters[i]] = flat_view(spec.dtype == DType::fp32 ? persistent.parameters : persistent.copy, i, spec.shape);
  }
  for (std::size_t i = 0; i < t.gradients.size(); ++i)
    fixed[t.gradients[i]] = flat_view(persistent.gradients, i, built.graph.spec(t.gradients[i]).shape);
  for (std::size_t i = 0; i < built.states.size(); ++i) fixed[built.states[i]] = persistent.states[i];
  for (std::size_t i = 0; i < t.moments.size(); ++i) fixed[t.moments[i]] = persistent.moments[i];
  const std::pair<ValueId, const Tensor*> others[] = {{built.step, &persistent.step},
                                                      {built.mean, &persistent.mean},
                                                      {built.scale, &persistent.scale},
                                                      {built.augment_seed, &persistent.augment_seed},
                                                      {built.epoch, &persistent.epoch},
                                                      {t.flat_parameters, &persistent.parameters},
                                                      {t.flat_gradients, &persistent.gradients},
                                                      {t.flat_copy, &persistent.copy},
                                                      {t.learning_rate, &persistent.learning_rate},
                                                      {t.gradient_scale, &persistent.gradient_scale},
                                                      {t.loss_scale, &persistent.loss_scale},
                                                      {t.finite_steps, &persistent.finite_steps},
                                                      {t.ring, &persistent.ring},
                                                      {t.class_weights, &persistent.class_weights}};
  for (const auto& [id, tensor] : others)
    if (id != kNoValue) fixed[id] = *tensor;
  return fixed;
}

Compiled CompiledModel::Impl::make(std::int64_t batch, bool training) {
  StepGraph step = step_graph(model, options, batch, training);
  if (options.tune) tune(step.graph(), *options.tuning, context);
  if (options.tuning) apply(*options.tuning, step.graph(), context);
  Compiled compiled;
  compiled.input = step.input();
  compiled.output = step.output();
  compiled.lengths = step.values.built.lengths;
  compiled.target = step.target();
  compiled.samples = step.values.built.samples;
  compiled.fixed = fixed_tensors(step);
  compiled.plan = std::make_unique<Plan>(step.graph(), context, step.fixed, step.kept);
  const std::size_t budget = arena_budget(step);
  if (compiled.plan->arena_bytes() <= budget) return compiled;
  if (!training || recompute_into(step, context, budget).arena > budget) {
    CompileOptions purpose = options;
    purpose.training = training;
    require_memory(model, purpose, batch);
    fail("not enough memory: ", model.name(), " at batch ", batch, " needs ",
         memory_text(static_cast<double>(compiled.plan->arena_bytes())), " beside its parameters but ",
         memory_text(static_cast<double>(budget)), " are left; use a smaller --batch or smaller images");
  }
  compiled.plan = std::make_unique<Plan>(std::move(step.graph()), context, step.fixed, step.kept);
  return compiled;
}

std::size_t CompiledModel::Impl::arena_budget(const StepGraph& step) const {
  if (options.memory_limit == 0) return context.backend->free_memory() + (arena ? arena->bytes() : 0);
  const std::size_t others =
      persistent_sizes(model, options).total() + fixed_overhead(options.device) + Feed::bytes_for(context, slot_bytes(step.graph()));
  return options.memory_limit > others ? static_cast<std::size_t>(options.memory_limit) - others : 0;
}

void CompiledModel::Impl::reserve(std::span<const std::int64_t> training, std::span<const std::int64_t> evaluation) {
  Plans fresh[2];  // evaluation, training
  std::size_t needed = arena ? arena->bytes() : 0;
  std::int64_t largest = 0;
  for (const bool train : {true, false})
    for (const auto batch : train ? training : evaluation) {
      if (plans[train].contains(batch) || fresh[train].contains(batch)) continue;
      require(batch >= 1, "batch must be at least 1, got ", batch);
      require(!train || options.training, "this model was compiled for prediction only");
      needed = std::max(needed, fresh[train].emplace(batch, make(batch, train)).first->second.plan->arena_bytes());
      largest = std::max(largest, batch);
    }
  if (largest == 0) return;
  context.backend->synchronize(context.stream);
  if (!arena || needed > arena->bytes()) {
    ensure_free(needed - (arena ? arena->bytes() : 0), text(model.name(), " at batch ", largest));
    for (auto& made : plans)
      for (auto& [batch, compiled] : made) compiled.execution.reset();
    arena.reset();
    arena = std::make_shared<Buffer>(*context.backend, std::max<std::size_t>(needed, 256));
  }
  for (const bool train : {true, false}) {
    plans[train].merge(fresh[train]);
    for (auto& [batch, compiled] : plans[train]) {
      if (compiled.execution) continue;
      const Graph& graph = compiled.plan->graph();
      feed.reserve(slot_bytes(graph));
      compiled.plan->bind(arena, compiled.fixed);
      compiled.execution = std::make_unique<Execution>(*compiled.plan, context);
    }
  }
}

Compiled& CompiledModel::Impl::plan_of(std::int64_t batch, bool training) {
  const std::int64_t one[] = {batch};
  const std::span<const std::int64_t> wanted(one), none;
  reserve(training ? wanted : none, training ? none : wanted);
  return plans[training].at(batch);
}

void CompiledModel::Impl::drain_metrics() {
  if (metrics_read == steps) return;
  const auto ring = read(persistent.ring);
  for (; metrics_read < steps; ++metrics_read) {
    const auto row = static_cast<std::size_t>(metrics_read % kRingRows);
    metrics.push_back({ring[row * 2], ring[row * 2 + 1]});
  }
}

}  // namespace epitaxy
