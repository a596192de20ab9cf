// The graph of operations that a model becomes for one batch size, and its backward graph.
#pragma once

#include <string>
#include <vector>

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// What a value is to the plan: fed per step, trained, kept between steps, fed as a device scalar, or computed.
enum class Role { input, target, parameter, state, scalar, intermediate };

struct Value {
  std::string name;
  TensorSpec spec;
  Role role = Role::intermediate;
};

struct Node {
  OperationPtr operation;
  std::vector<ValueId> inputs, outputs;
  std::string name;
  bool backward = false;
};

/// Who computes and who reads each value, by value id.
struct Uses {
  std::vector<int> producer;              // the first node that has it as an output; -1: none
  std::vector<std::vector<int>> readers;  // nodes in order, once for each input that reads it
};

/// Nodes in execution order. Every node's inputs are defined before it.
class Graph {
 public:
  ValueId add_value(std::string name, TensorSpec spec, Role role);
  /// Appends a node and answers its outputs. `bound` names existing values that outputs overwrite in place (kNoValue: a new value).
  std::vector<ValueId> add(OperationPtr operation, std::vector<ValueId> inputs, std::string name = {}, std::vector<ValueId> bound = {});
  const std::vector<Value>& values() const { return values_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const Value& value(ValueId id) const { return values_[static_cast<std::size_t>(id)]; }
  const TensorSpec& spec(ValueId id) const { return value(id).spec; }
  std::vector<TensorSpec> specs(std::span<const ValueId> ids) const;
  Uses uses() const;
  /// Puts these nodes in place of all there are: a rewrite. Values keep their ids. Rejects nodes that read a value before it is computed,
  /// compute one twice, or whose outputs do not have their values' specs.
  void set_nodes(std::vector<Node> nodes);
  /// Marks nodes added from now on as backward.
  void begin_backward() { backward_ = true; }

 private:
  std::vector<Value> values_;
  std::vector<Node> nodes_;
  bool backward_ = false;
};

/// Appends the backward graph of `loss`, whose node must state its own gradient (losses do), and answers the gradient of each of
/// `wanted` in order. Fan-in is an explicit `add`.
std::vector<ValueId> differentiate(Graph& graph, ValueId loss, std::span<const ValueId> wanted);

}  // namespace epitaxy
