#include "epitaxy/ops/graph.h"

#include <algorithm>

#include "epitaxy/ops/add.h"

namespace epitaxy {

ValueId Graph::add_value(std::string name, TensorSpec spec, Role role) {
  values_.push_back({std::move(name), spec, role});
  return static_cast<ValueId>(values_.size()) - 1;
}

std::vector<TensorSpec> Graph::specs(std::span<const ValueId> ids) const {
  std::vector<TensorSpec> result;
  result.reserve(ids.size());
  for (const ValueId id : ids) result.push_back(spec(id));
  return result;
}

std::vector<ValueId> Graph::add(OperationPtr operation, std::vector<ValueId> inputs, std::string name, std::vector<ValueId> bound) {
  const auto specs_out = operation->outputs(specs(inputs));
  if (name.empty()) name = operation->name();
  std::vector<ValueId> outputs;
  for (std::size_t i = 0; i < specs_out.size(); ++i) {
    const ValueId target = i < bound.size() ? bound[i] : kNoValue;
    if (target == kNoValue) {
      outputs.push_back(add_value(name + (i ? ":" + std::to_string(i) : ""), specs_out[i], Role::intermediate));
      continue;
    }
    require(spec(target) == specs_out[i], name, ": output ", i, " is ", specs_out[i], " but is bound to ", spec(target));
    outputs.push_back(target);
  }
  nodes_.push_back({std::move(operation), std::move(inputs), outputs, std::move(name), backward_});
  return outputs;
}

Uses Graph::uses() const {
  Uses uses{std::vector<int>(values_.size(), -1), std::vector<std::vector<int>>(values_.size())};
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    for (const ValueId id : nodes_[n].inputs) uses.readers[static_cast<std::size_t>(id)].push_back(static_cast<int>(n));
    for (const ValueId id : nodes_[n].outputs)
      if (int& producer = uses.producer[static_cast<std::size_t>(id)]; producer < 0) producer = static_cast<int>(n);
  }
  return uses;
}

void Graph::set_nodes(std::vector<Node> nodes) {
  std::vector<char> computed(values_.size(), 0);
  for (const Node& node : nodes) {
    for (const ValueId id : node.inputs)
      require(value(id).role != Role::intermediate || computed[static_cast<std::size_t>(id)], "graph: ", node.name, " reads ",
              value(id).name, " before it is computed");
    const auto outputs = node.operation->outputs(specs(node.inputs));
    require(outputs.size() == node.outputs.size(), "graph: ", node.name, " has ", outputs.size(), " outputs, given ", node.outputs.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const ValueId id = node.outputs[i];
      require(spec(id) == outputs[i], "graph: output ", i, " of ", node.name, " is ", outputs[i], ", its value ", spec(id));
      require(value(id).role != Role::intermediate || !computed[static_cast<std::size_t>(id)], "graph: ", node.name, " computes ",
              value(id).name, " a second time");
      computed[static_cast<std::size_t>(id)] = 1;
    }
  }
  nodes_ = std::move(nodes);
}

GradientBuilder::GradientBuilder(Graph& graph, int node, std::span<const ValueId> output_gradients, std::span<const bool> wanted)
    : graph_(graph),
      node_(node),
      output_gradients_(output_gradients.begin(), output_gradients.end()),
      results_(wanted.size(), kNoValue),
      wanted_(wanted.begin(), wanted.end()) {}

ValueId GradientBuilder::input(int i) const {
  return graph_.nodes()[static_cast<std::size_t>(node_)].inputs.at(static_cast<std::size_t>(i));
}
ValueId GradientBuilder::output(int i) const {
  return graph_.nodes()[static_cast<std::size_t>(node_)].outputs.at(static_cast<std::size_t>(i));
}
ValueId GradientBuilder::gradient(int i) const { return output_gradients_.at(static_cast<std::size_t>(i)); }
const TensorSpec& GradientBuilder::spec(ValueId value) const { return graph_.spec(value); }
bool GradientBuilder::wants(int i) const { return wanted_.at(static_cast<std::size_t>(i)); }
void GradientBuilder::set(int i, ValueId gradient) { results_.at(static_cast<std::size_t>(i)) = gradient; }

std::vector<ValueId> GradientBuilder::emit(OperationPtr operation, std::vector<ValueId> inputs) {
  const std::string name = graph_.nodes()[static_cast<std::size_t>(node_)].name + "/" + operation->name();
  return graph_.add(std::move(operation), std::move(inputs), name);
}

std::vector<ValueId> differentiate(Graph& graph, ValueId loss, std::span<const ValueId> wanted) {
  const std::size_t forward_values = graph.values().size();
  const int forward_nodes = static_cast<int>(graph.nodes().size());
  std::vector<char> needed(forward_values, 0);  // does a wanted value lie upstream?
  for (const ValueId id : wanted) needed[static_cast<std::size_t>(id)] = 1;
  for (const Node& node : graph.nodes())
    if (std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) { return needed[static_cast<std::size_t>(id)]; }))
      for (const ValueId id : node.outputs)
        if (graph.value(id).role == Role::intermediate) needed[static_cast<std::size_t>(id)] = 1;

  graph.begin_backward();
  std::vector<ValueId> gradients(forward_values, kNoValue);
  gradients[static_cast<std::size_t>(loss)] = loss;  // seeds the loss node, whose rule ignores the value
  for (int n = forward_nodes - 1; n >= 0; --n) {
    const Node node = graph.nodes()[static_cast<std::size_t>(n)];  // a copy: emitting nodes moves the list
    std::vector<ValueId> output_gradients;
    for (const ValueId id : node.outputs) output_gradients.push_back(gradients[static_cast<std::size_t>(id)]);
    if (std::all_of(output_gradients.begin(), output_gradients.end(), [](ValueId id) { return id == kNoValue; })) continue;
    std::unique_ptr<bool[]> wants(new bool[node.inputs.size()]);
    bool any = false;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) any |= wants[i] = needed[static_cast<std::size_t>(node.inputs[i])];
    if (!any) continue;
    GradientBuilder builder(graph, n, output_gradients, {wants.get(), node.inputs.size()});
    node.operation->differentiate(builder);
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId gradient = builder.results()[i];
      if (!wants[i] || gradient == kNoValue) continue;
      ValueId& total = gradients[static_cast<std::size_t>(node.inputs[i])];
      total = total == kNoValue ? gradient : graph.add(epitaxy::add(), {total, gradient}, node.name + "/add")[0];
    }
  }
  std::vector<ValueId> result;
  for (const ValueId id : wanted) {
    result.push_back(gradients[static_cast<std::size_t>(id)]);
    require(result.back() != kNoValue, "the loss does not depend on ", graph.value(id).name);
  }
  return result;
}

}  // namespace epitaxy
