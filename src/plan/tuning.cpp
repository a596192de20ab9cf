#include "epitaxy/plan/tuning.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "epitaxy/philox.h"

namespace epitaxy {

namespace {

constexpr double kMargin = 0.97;  // what a candidate must beat the default by

double wall_clock(const Context& context, const std::function<void()>& run) {
  using Clock = std::chrono::steady_clock;
  const auto time = [&](int count) {
    context.backend->synchronize(context.stream);
    const auto start = Clock::now();
    for (int i = 0; i < count; ++i) run();
    context.backend->synchronize(context.stream);
    return std::chrono::duration<double>(Clock::now() - start).count() / count;
  };
  time(1);
  const int count = std::clamp(static_cast<int>(std::ceil(2e-3 / time(1))), 1, 100);
  return std::min({time(count), time(count), time(count)});
}

/// Uniform numbers in [-1, 1): zeros would run faster than data do.
Tensor random_tensor(const TensorSpec& spec, const Context& context, std::uint32_t ordinal) {
  const Tensor there(*context.backend, spec);
  if (!is_floating(spec.dtype)) {
    context.backend->zero(there.data(), there.bytes(), context.stream);
    return there;
  }
  const Tensor host(cpu_backend(), spec);
  Random random(1, RandomPurpose::simulate, ordinal);
  for (std::int64_t i = 0; i < host.count(); ++i) {
    const float value = 2 * uniform(random.bits()) - 1;
    switch (spec.dtype) {
      case DType::bf16: host.as<BFloat16>()[i] = round<BFloat16>(value); break;
      case DType::fp16: host.as<Half>()[i] = round<Half>(value); break;
      default: host.as<float>()[i] = value;
    }
  }
  context.backend->copy(there.data(), host.data(), host.bytes(), context.stream);
  context.backend->synchronize(context.stream);
  return there;
}

/// Seconds of one candidate, or infinity where it does not run here.
double seconds_of(const Operation& operation, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                  std::span<const TensorSpec> specs, const Context& context, const Stopwatch& stopwatch) {
  const auto prepared = operation.prepare(specs, context);
  const std::size_t bytes = operation.workspace_bytes(specs, context, prepared.get());
  if (bytes > context.backend->free_memory()) return INFINITY;
  const Tensor workspace = bytes ? Tensor(*context.backend, {DType::uint8, {static_cast<std::int64_t>(bytes)}}) : Tensor();
  const Call call{inputs, outputs, workspace, prepared.get(), context};
  return stopwatch(context, [&] { operation.run(call); });
}

}  // namespace

const std::string& Tuning::find(const std::string& problem) const {
  static const std::string none;
  const auto at = choices_.find(problem);
  return at == choices_.end() ? none : at->second;
}

std::string Tuning::to_json() const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [problem, variant] : choices_) json[problem] = variant;
  return json.dump(1) + "\n";
}

Tuning Tuning::from_json(const std::string& text) {
  Tuning tuning;
  try {
    nlohmann::json::parse(text).get_to(tuning.choices_);
  } catch (const nlohmann::json::exception& error) {
    reject("tuning: ", error.what());
  }
  return tuning;
}

std::string tuning_problem(const Operation& operation, std::span<const TensorSpec> inputs, const Context& context) {
  std::string problem = operation.name();
  if (const std::string details = operation.details(); !details.empty()) problem += " " + details;
  for (const auto& input : inputs) problem += text(", ", input);
  for (const auto& output : operation.outputs(inputs)) problem += text(" -> ", output);
  if (const DeviceProfile* profile = context.stream.profile) problem += text("; sm_", profile->compute, " x", profile->multiprocessors);
  return problem;
}

int tune(const Graph& graph, Tuning& tuning, const Context& context, const Stopwatch& stopwatch) {
  const Stopwatch timer = stopwatch ? stopwatch : Stopwatch(wall_clock);
  int timed = 0;
  for (const Node& node : graph.nodes()) {
    const auto specs = graph.specs(node.inputs);
    const auto candidates = node.operation->candidates(specs, context);
    const std::string problem = tuning_problem(*node.operation, specs, context);
    if (candidates.size() < 2 || !tuning.find(problem).empty()) continue;
    std::vector<Tensor> inputs, outputs;
    for (const auto& spec : specs) inputs.push_back(random_tensor(spec, context, static_cast<std::uint32_t>(inputs.size())));
    for (const auto& spec : node.operation->outputs(specs)) outputs.emplace_back(*context.backend, spec);
    std::size_t best = 0;
    double least = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const double seconds = seconds_of(*candidates[i], inputs, outputs, specs, context, timer);
      if (i == 0) least = seconds * kMargin;
      if (seconds >= least) continue;
      best = i;
      least = seconds;
    }
    tuning.set(problem, candidates[best]->variant());
    ++timed;
  }
  return timed;
}

void apply(const Tuning& tuning, Graph& graph, const Context& context) {
  std::vector<Node> nodes = graph.nodes();
  bool changed = false;
  for (Node& node : nodes) {
    const auto specs = graph.specs(node.inputs);
    const std::string& wanted = tuning.find(tuning_problem(*node.operation, specs, context));
    if (wanted.empty()) continue;
    for (const auto& candidate : node.operation->candidates(specs, context))
      if (candidate->variant() == wanted) {
        node.operation = candidate;
        changed = true;
      }
  }
  if (changed) graph.set_nodes(std::move(nodes));
}

}  // namespace epitaxy
