#include "epitaxy/plan/compiled_model.h"

#include <algorithm>
#include <cstring>

#include "epitaxy/ops/cast.h"
#include "plan/execution.h"
#include "plan/training_graph.h"

namespace epitaxy {

namespace {

std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

/// The memory that outlives a step, cut from one buffer.
struct Persistent {
  Tensor parameters, copy, gradients, learning_rate, gradient_scale, step, ring, mean, scale, class_weights;
  std::vector<Tensor> moments, states;
};

/// Calls place(tensor of Persistent, spec, field of the summary) for everything a model keeps.
template <class Place>
void lay_out(const Model& model, const CompileOptions& options, Persistent& p, MemorySummary& sizes, Place&& place) {
  const std::int64_t count = flat_layout(model.parameters()).count;
  const TensorSpec flat{DType::fp32, {count}}, scalar{DType::fp32, {1}};
  place(p.parameters, flat, sizes.parameters);
  if (storage(options.precision) != DType::fp32) place(p.copy, {storage(options.precision), {count}}, sizes.parameters);
  place(p.step, {DType::int64, {1}}, sizes.states);
  for (const auto& state : model.states()) place(p.states.emplace_back(), {DType::fp32, state.shape}, sizes.states);
  if (!options.mean.empty()) {
    place(p.mean, {DType::fp32, {static_cast<std::int64_t>(options.mean.size())}}, sizes.states);
    place(p.scale, {DType::fp32, {static_cast<std::int64_t>(options.scale.size())}}, sizes.states);
  }
  if (!options.training) return;
  place(p.gradients, flat, sizes.gradients);
  for (int i = 0; i < moment_count(options.optimizer.kind); ++i) place(p.moments.emplace_back(), flat, sizes.optimizer);
  place(p.learning_rate, scalar, sizes.states);
  place(p.gradient_scale, scalar, sizes.states);
  place(p.ring, {DType::fp32, {kRingRows, 2}}, sizes.states);
  if (!options.class_weights.empty())
    place(p.class_weights, {DType::fp32, {static_cast<std::int64_t>(options.class_weights.size())}}, sizes.states);
}

/// Sizes alone.
MemorySummary persistent_sizes(const Model& model, const CompileOptions& options) {
  Persistent unused;
  MemorySummary sizes;
  lay_out(model, options, unused, sizes, [](Tensor&, const TensorSpec& spec, std::size_t& field) { field += aligned(spec.bytes()); });
  return sizes;
}

void check(const Model& model, const CompileOptions& options) {
  const std::int64_t channels = model.input_shape()[-1];
  require(options.mean.size() == options.scale.size(), "normalisation: ", options.mean.size(), " means and ", options.scale.size(),
          " scales");
  require(options.mean.empty() || static_cast<std::int64_t>(options.mean.size()) == channels, "normalisation: ", options.mean.size(),
          " means for ", channels, " channels");
  require(!(options.training && options.precision == Precision::fp16),
          "training in fp16 needs loss scaling, which Epitaxy lacks; use bf16");
  require(model.output_shape().rank() == 1, "a model to be trained ends in [outputs], got ", model.output_shape());
  require(options.class_weights.empty() || static_cast<std::int64_t>(options.class_weights.size()) == model.output_shape()[0],
          options.class_weights.size(), " class weights for ", model.output_shape()[0], " classes");
}

/// A compiled plan of one batch size with the values it is fed through.
struct Compiled {
  std::unique_ptr<Plan> plan;
  std::unique_ptr<Execution> execution;
  ValueId input, output, target = kNoValue;
  std::map<ValueId, Tensor> fixed;
};
using Plans = std::map<std::int64_t, Compiled>;

}  // namespace

struct CompiledModel::Impl {
  Impl(Model m, CompileOptions o) : model(std::move(m)), options(std::move(o)), context(make_context(options.device)), feed(context) {
    check(model, options);
    MemorySummary sizes;
    Persistent unused;
    const std::size_t bytes = persistent_sizes(model, options).total();
    ensure_free(bytes, "the parameters of " + model.name());
    auto buffer = std::make_shared<Buffer>(*context.backend, bytes);
    context.backend->zero(buffer->data(), bytes, context.stream);
    std::size_t offset = 0;
    lay_out(model, options, persistent, sizes, [&](Tensor& tensor, const TensorSpec& spec, std::size_t&) {
      tensor = Tensor(buffer, offset, spec);
      offset += aligned(spec.bytes());
    });
    layout = flat_layout(model.parameters());
    if (!options.mean.empty()) {
      write(persistent.mean, options.mean.data());
      write(persistent.scale, options.scale.data());
    }
    if (!options.class_weights.empty()) write(persistent.class_weights, options.class_weights.data());
    if (options.training) {
      const float one = 1.0f;
      write(persistent.gradient_scale, &one);
    }
    std::size_t s = 0;
    for (const auto& state : model.states()) {
      const std::vector<float> start(static_cast<std::size_t>(state.shape.count()), state.start);
      write(persistent.states[s++], start.data());
    }
    const auto parameters = model.parameters();
    const auto values = initial_values(model, options.seed);
    for (std::size_t i = 0; i < parameters.size(); ++i) write_parameter(i, values[i]);
    round_copy();
  }

  void ensure_free(std::size_t bytes, const std::string& what) const {
    const std::size_t available = context.backend->free_memory();
    if (bytes > available)
      fail("not enough memory on ", name(options.device), ": ", what, " takes ", bytes >> 20, " MiB, ", available >> 20,
           " MiB are free; use a smaller --batch or smaller images");
  }

  void write(const Tensor& to, const void* from) {
    context.backend->copy(to.data(), from, to.bytes(), context.stream);
    context.backend->synchronize(context.stream);
  }

  std::vector<float> read(const Tensor& from) const {
    std::vector<float> result(static_cast<std::size_t>(from.count()));
    context.backend->synchronize(context.stream);
    context.backend->copy(result.data(), from.data(), from.bytes(), context.stream);
    context.backend->synchronize(context.stream);
    return result;
  }

  /// The view of parameter i in a flat array.
  Tensor flat_view(const Tensor& flat, std::size_t i, const Shape& shape) const {
    return flat.slice(layout.offsets[i], shape.count()).reshape(shape);
  }

  void write_parameter(std::size_t i, const Tensor& value) { write(flat_view(persistent.parameters, i, value.shape()), value.data()); }

  void round_copy() {
    if (!persistent.copy) return;
    const Tensor in[] = {persistent.parameters}, out[] = {persistent.copy};
    cast(persistent.copy.dtype())->run({in, out, {}, nullptr, context});
    context.backend->synchronize(context.stream);
  }

  /// Memory of the values that training and evaluation share.
  std::map<ValueId, Tensor> fixed_values(const BuiltModel& built) const {
    std::map<ValueId, Tensor> fixed;
    for (std::size_t i = 0; i < built.parameters.size(); ++i) {
      const TensorSpec& spec = built.graph.spec(built.parameters[i]);
      fixed[built.parameters[i]] = flat_view(spec.dtype == DType::fp32 ? persistent.parameters : persistent.copy, i, spec.shape);
    }
    for (std::size_t i = 0; i < built.states.size(); ++i) fixed[built.states[i]] = persistent.states[i];
    fixed[built.step] = persistent.step;
    if (built.mean != kNoValue) {
      fixed[built.mean] = persistent.mean;
      fixed[built.scale] = persistent.scale;
    }
    return fixed;
  }

  Compiled make(std::int64_t batch, bool training) {
    Compiled compiled;
    Graph graph;
    std::vector<ValueId> kept;
    if (training) {
      TrainingGraph t = training_graph(model, options, batch);
      compiled.fixed = fixed_values(t.built);
      compiled.input = t.built.input;
      compiled.output = t.built.output;
      compiled.target = t.target;
      const auto parameters = model.parameters();
      for (std::size_t i = 0; i < parameters.size(); ++i)
        compiled.fixed[t.gradients[i]] = flat_view(persistent.gradients, i, t.built.graph.spec(t.gradients[i]).shape);
      compiled.fixed[t.flat_parameters] = persistent.parameters;
      compiled.fixed[t.flat_gradients] = persistent.gradients;
      compiled.fixed[t.learning_rate] = persistent.learning_rate;
      compiled.fixed[t.gradient_scale] = persistent.gradient_scale;
      compiled.fixed[t.ring] = persistent.ring;
      for (std::size_t i = 0; i < t.moments.size(); ++i) compiled.fixed[t.moments[i]] = persistent.moments[i];
      if (t.flat_copy != kNoValue) compiled.fixed[t.flat_copy] = persistent.copy;
      if (t.class_weights != kNoValue) compiled.fixed[t.class_weights] = persistent.class_weights;
      graph = std::move(t.built.graph);
    } else {
      BuiltModel built = build(model, build_options(options, batch, false));
      compiled.fixed = fixed_values(built);
      compiled.input = built.input;
      compiled.output = built.output;
      kept = {built.output};
      graph = std::move(built.graph);
    }
    std::vector<ValueId> fixed_ids;
    for (const auto& [id, tensor] : compiled.fixed) fixed_ids.push_back(id);
    compiled.plan = std::make_unique<Plan>(std::move(graph), context, fixed_ids, kept);
    return compiled;
  }

  /// The plans of these batch sizes, made where missing; the arena grows to the largest and all plans move to it. Changes nothing when
  /// memory is short.
  void reserve(std::span<const std::int64_t> training, std::span<const std::int64_t> evaluation) {
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
        feed.reserve(graph.spec(compiled.input).bytes(), compiled.target == kNoValue ? 0 : graph.spec(compiled.target).bytes());
        compiled.plan->bind(arena, compiled.fixed);
        compiled.execution = std::make_unique<Execution>(*compiled.plan, context);
      }
    }
  }

  Compiled& plan_of(std::int64_t batch, bool training) {
    const std::int64_t one[] = {batch};
    reserve(training ? std::span<const std::int64_t>(one) : std::span<const std::int64_t>(),
            training ? std::span<const std::int64_t>() : std::span<const std::int64_t>(one));
    return plans[training].at(batch);
  }

  void check_batch(const Tensor& given, const TensorSpec& wanted, const char* what) const {
    require(given.spec() == wanted, model.name(), ": ", what, " are ", given.spec(), ", expected ", wanted);
  }

  Model model;
  CompileOptions options;
  Context context;
  Persistent persistent;
  FlatLayout layout;
  std::shared_ptr<Buffer> arena;
  Plans plans[2];  // of evaluation and of training, by batch size
  Feed feed;
  std::int64_t steps = 0, metrics_read = 0;
  std::vector<StepMetrics> metrics;

  /// Moves finished steps' metrics from the ring to the host.
  void drain_metrics() {
    if (metrics_read == steps) return;
    const auto ring = read(persistent.ring);
    for (; metrics_read < steps; ++metrics_read) {
      const auto row = static_cast<std::size_t>(metrics_read % kRingRows);
      metrics.push_back({ring[row * 2], ring[row * 2 + 1]});
    }
  }
};

CompiledModel::CompiledModel(Model model, CompileOptions options) : impl_(std::make_unique<Impl>(std::move(model), std::move(options))) {}
CompiledModel::~CompiledModel() = default;

const Model& CompiledModel::model() const { return impl_->model; }
const CompileOptions& CompiledModel::options() const { return impl_->options; }

void CompiledModel::reserve(std::span<const std::int64_t> training, std::span<const std::int64_t> evaluation) {
  impl_->reserve(training, evaluation);
}

void CompiledModel::train_step(const Tensor& inputs, const Tensor& targets, float learning_rate) {
  Compiled& compiled = impl_->plan_of(inputs.dim(0), true);
  const Plan& plan = *compiled.plan;
  impl_->check_batch(inputs, plan.graph().spec(compiled.input), "inputs");
  impl_->check_batch(targets, plan.graph().spec(compiled.target), "targets");
  if (impl_->steps - impl_->metrics_read == kRingRows) impl_->drain_metrics();
  const Feed::Item items[] = {{plan.tensor(compiled.input).data(), inputs.data(), inputs.bytes()},
                              {plan.tensor(compiled.target).data(), targets.data(), targets.bytes()},
                              {impl_->persistent.learning_rate.data(), &learning_rate, sizeof learning_rate}};
  impl_->feed.send(items);
  compiled.execution->run();
  ++impl_->steps;
}

std::vector<StepMetrics> CompiledModel::take_metrics() {
  impl_->drain_metrics();
  return std::exchange(impl_->metrics, {});
}

Tensor CompiledModel::predict(const Tensor& inputs) {
  Compiled& compiled = impl_->plan_of(inputs.dim(0), false);
  const Plan& plan = *compiled.plan;
  impl_->check_batch(inputs, plan.graph().spec(compiled.input), "inputs");
  const Feed::Item items[] = {{plan.tensor(compiled.input).data(), inputs.data(), inputs.bytes()}};
  impl_->feed.send(items);
  compiled.execution->run();
  const Tensor raw = copy_to(cpu_backend(), plan.tensor(compiled.output), *impl_->context.backend);
  if (raw.dtype() == DType::fp32) return raw;
  return epitaxy::run(*cast(DType::fp32), {raw}, {&cpu_backend(), {}, true})[0];
}

std::int64_t CompiledModel::step() const { return impl_->steps; }

std::vector<NamedTensor> CompiledModel::weights() const {
  std::vector<NamedTensor> result;
  const auto add = [&](const std::string& name, const Tensor& from, const Shape& shape) {
    const auto numbers = impl_->read(from);
    const Tensor host(cpu_backend(), {DType::fp32, shape});
    std::copy(numbers.begin(), numbers.end(), host.as<float>());
    result.push_back({name, host});
  };
  const auto parameters = impl_->model.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i)
    add(parameters[i].name, impl_->flat_view(impl_->persistent.parameters, i, parameters[i].shape), parameters[i].shape);
  const auto states = impl_->model.states();
  for (std::size_t i = 0; i < states.size(); ++i) add(states[i].name, impl_->persistent.states[i], states[i].shape);
  return result;
}

void CompiledModel::set_weights(const std::vector<NamedTensor>& weights) {
  const auto parameters = impl_->model.parameters();
  const auto states = impl_->model.states();
  std::map<std::string, const Tensor*> given;
  for (const auto& weight : weights) require(given.emplace(weight.name, &weight.tensor).second, "weights: '", weight.name, "' comes twice");
  const auto take = [&](const std::string& name, const Shape& shape) {
    const auto at = given.find(name);
    require(at != given.end(), "weights: '", name, "' of model ", impl_->model.name(), " is missing");
    const Tensor& tensor = *at->second;
    require(tensor.dtype() == DType::fp32 && tensor.shape() == shape, "weights: '", name, "' is ", tensor.spec(), ", expected fp32 ",
            shape);
    given.erase(at);
    return tensor;
  };
  std::vector<Tensor> values, kept;
  for (const auto& p : parameters) values.push_back(take(p.name, p.shape));
  for (const auto& s : states) kept.push_back(take(s.name, s.shape));
  require(given.empty(), "weights: '", given.empty() ? "" : given.begin()->first, "' is not in model ", impl_->model.name());
  impl_->context.backend->synchronize(impl_->context.stream);
  for (std::size_t i = 0; i < values.size(); ++i) impl_->write_parameter(i, values[i]);
  for (std::size_t i = 0; i < kept.size(); ++i) impl_->write(impl_->persistent.states[i], kept[i].data());
  impl_->round_copy();
}

std::vector<NamedTensor> CompiledModel::optimizer_state() const {
  std::vector<NamedTensor> result;
  const auto parameters = impl_->model.parameters();
  for (std::size_t m = 0; m < impl_->persistent.moments.size(); ++m)
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Tensor view = impl_->flat_view(impl_->persistent.moments[m], i, parameters[i].shape);
      result.push_back({parameters[i].name + ".moment" + std::to_string(m + 1), copy_to(cpu_backend(), view, *impl_->context.backend)});
    }
  result.push_back({"step", Tensor(cpu_backend(), {DType::int64, {1}})});
  *result.back().tensor.as<std::int64_t>() = impl_->steps;
  return result;
}

void CompiledModel::set_optimizer_state(const std::vector<NamedTensor>& state) {
  const auto expected = optimizer_state();
  require(state.size() == expected.size(), "optimizer state: ", state.size(), " arrays, expected ", expected.size());
  const auto parameters = impl_->model.parameters();
  for (std::size_t i = 0; i < state.size(); ++i)
    require(state[i].name == expected[i].name && state[i].tensor.spec() == expected[i].tensor.spec(), "optimizer state: '", state[i].name,
            "' ", state[i].tensor.spec(), ", expected '", expected[i].name, "' ", expected[i].tensor.spec());
  std::size_t at = 0;
  for (const auto& moment : impl_->persistent.moments)
    for (std::size_t i = 0; i < parameters.size(); ++i)
      impl_->write(impl_->flat_view(moment, i, parameters[i].shape), state[at++].tensor.data());
  impl_->write(impl_->persistent.step, state[at].tensor.data());
  impl_->steps = impl_->metrics_read = *state[at].tensor.as<std::int64_t>();
}

MemorySummary CompiledModel::memory() const {
  MemorySummary sizes = persistent_sizes(impl_->model, impl_->options);
  sizes.arena = impl_->arena ? impl_->arena->bytes() : 0;
  sizes.slots = impl_->feed.bytes();
  return sizes;
}

const Plan& CompiledModel::training_plan(std::int64_t batch) { return *impl_->plan_of(batch, true).plan; }
const Plan& CompiledModel::evaluation_plan(std::int64_t batch) { return *impl_->plan_of(batch, false).plan; }

MemorySummary plan_memory(const Model& model, const CompileOptions& options, std::int64_t batch) {
  check(model, options);
  MemorySummary sizes = persistent_sizes(model, options);
  const Context context = make_context(options.device);
  Graph graph;
  std::vector<ValueId> fixed, kept;
  std::size_t input_bytes = 0, target_bytes = 0;
  if (options.training) {
    TrainingGraph t = training_graph(model, options, batch);
    fixed = t.gradients;
    input_bytes = t.built.graph.spec(t.built.input).bytes();
    target_bytes = t.built.graph.spec(t.target).bytes();
    graph = std::move(t.built.graph);
  } else {
    BuiltModel built = build(model, build_options(options, batch, false));
    kept = {built.output};
    input_bytes = built.graph.spec(built.input).bytes();
    graph = std::move(built.graph);
  }
  for (std::size_t id = 0; id < graph.values().size(); ++id)
    if (const Role role = graph.values()[id].role; role == Role::parameter || role == Role::state || role == Role::scalar)
      fixed.push_back(static_cast<ValueId>(id));
  sizes.arena = Plan(std::move(graph), context, fixed, kept).arena_bytes();
  sizes.slots = Feed::bytes_for(context, input_bytes, target_bytes);
  return sizes;
}

}  // namespace epitaxy
