// What `epitaxy plan` prints of a model's layers.
#include "nn/layer_info.h"
#include "plan/training_graph.h"

namespace epitaxy {

std::vector<PlanRow> plan_rows(const Model& model, const CompileOptions& options, std::int64_t batch) {
  const TrainingGraph training = training_graph(model, options, batch);
  const Graph& graph = training.built.graph;
  std::vector<PlanRow> rows;
  std::map<std::string, std::size_t> row_of;
  for (const auto& entry : model.entries()) {
    PlanRow row{entry.name, kind_of(entry.layer), {}, entry.output.prepend(batch)};
    for (const auto& p : parameters_of(entry.layer, model.shape(entry.inputs[0]), entry.name)) row.parameters += p.shape.count();
    row_of[entry.name] = rows.size();
    rows.push_back(std::move(row));
  }
  for (const Node& node : graph.nodes()) {
    const std::string layer = node.name.substr(0, node.backward ? node.name.find('/') : std::string::npos);
    const auto at = row_of.find(layer);
    if (at == row_of.end()) continue;
    PlanRow& row = rows[at->second];
    const Cost cost = node.operation->cost(graph.specs(node.inputs));
    if (!node.backward) {
      row.forward_flops += cost.flops;
      if (row.details.empty()) row.details = node.operation->details();
    }
    row.training_flops += cost.flops;
    row.bytes += cost.bytes;
  }
  return rows;
}

}  // namespace epitaxy
