// What `epitaxy plan` prints of a model's layers and of fusion.
#include "nn/layer_info.h"
#include "plan/step_graph.h"

namespace epitaxy {

std::vector<PlanRow> plan_rows(const Model& model, const CompileOptions& options, std::int64_t batch) {
  const TrainingGraph training = training_graph(model, options, batch);
  const Graph& graph = training.built.graph;
  std::vector<PlanRow> rows;
  std::map<std::string, std::size_t> row_of;
  for (const auto& entry : model.entries()) {
    PlanRow row{entry.name, kind_of(entry.layer), {}, entry.output.prepend(batch)};
    for (const auto& p : parameters_of(entry.layer, model.shape(entry.inputs[0]), entry.name)) row.parameters += p.shape.count();
    if (const auto* conv = std::get_if<layers::Conv2d>(&entry.layer)) row.details = text(conv->kernel[0], "x", conv->kernel[1]);
    if (const auto* conv = std::get_if<layers::Conv1d>(&entry.layer)) row.details = text("1x", conv->kernel);
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
      const std::string details = node.operation->details();
      if (row.details.empty())
        row.details = details;
      else if (node.operation->name() == "conv2d" && !details.empty())
        row.details += " " + details;
    }
    row.training_flops += cost.flops;
    row.bytes += cost.bytes;
  }
  for (const auto& fused : training.fusions)  // layers that merged into another
    for (const auto& merged : fused.merged)
      if (const auto at = row_of.find(merged.node); at != row_of.end() && merged.node != fused.node && rows[at->second].bytes == 0)
        rows[at->second].details = "in " + fused.node;
  return rows;
}

FusionReport plan_fusions(const Model& model, const CompileOptions& options, std::int64_t batch) {
  const auto traffic = [](const Graph& graph) {
    double bytes = 0;
    for (const Node& node : graph.nodes()) bytes += node.operation->cost(graph.specs(node.inputs)).bytes;
    return bytes;
  };
  CompileOptions plain = options;
  plain.fusion = FusionSet::none();
  StepGraph fused = step_graph(model, options, batch, options.training);
  return {std::move(fused.values.fusions), traffic(fused.graph()), traffic(step_graph(model, plain, batch, options.training).graph())};
}

}  // namespace epitaxy
