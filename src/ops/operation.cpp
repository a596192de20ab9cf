#include "epitaxy/ops/operation.h"

#include "epitaxy/ops/graph.h"

namespace epitaxy {

void Operation::differentiate(GradientBuilder&) const { reject(name(), " has no gradient"); }

Cost Operation::cost(std::span<const TensorSpec> inputs) const {
  Cost cost;
  for (const auto& spec : inputs) cost.bytes += static_cast<double>(spec.bytes());
  for (const auto& spec : outputs(inputs)) cost.bytes += static_cast<double>(spec.bytes());
  return cost;
}

std::vector<Tensor> run(const Operation& operation, const std::vector<Tensor>& inputs, const Context& context) {
  std::vector<TensorSpec> specs;
  specs.reserve(inputs.size());
  for (const auto& input : inputs) specs.push_back(input.spec());
  const auto prepared = operation.prepare(specs, context);
  std::vector<Tensor> outputs;
  for (const auto& spec : operation.outputs(specs)) {
    const std::size_t size = operation.output_bytes(static_cast<int>(outputs.size()), specs, context, prepared.get());
    outputs.emplace_back(std::make_shared<Buffer>(*context.backend, size), 0, spec);
  }
  const std::size_t bytes = operation.workspace_bytes(specs, context, prepared.get());
  const Tensor workspace(*context.backend, {DType::uint8, {static_cast<std::int64_t>(bytes)}});
  operation.run({inputs, outputs, workspace, prepared.get(), context});
  context.backend->synchronize(context.stream);
  return outputs;
}

}  // namespace epitaxy
