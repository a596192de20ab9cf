// The patterns of the backward graph: what an input gradient of a convolution goes through joins the convolution.
#include <algorithm>

#include "epitaxy/ops/batch_norm.h"
#include "epitaxy/ops/conv2d.h"
#include "plan/fusion_rules.h"

namespace epitaxy {

namespace {

/// An input gradient of one image, to which an epilogue's parts are added.
struct InputGradient {
  Conv2dInputGradientOptions options;
  std::vector<ValueId> inputs;

  OperationPtr operation() const { return conv2d_input_gradient(options.conv, options.height, options.width, options.epilogue); }
};

std::optional<InputGradient> input_gradient(const Node& node) {
  const auto options = conv2d_input_gradient_options(*node.operation);
  if (!options || options->conv.second_channels != 0) return {};
  return InputGradient{*options, node.inputs};
}

Rewrite rewrite(const FusionSite& site, std::vector<int> members, const InputGradient& gradient, std::vector<ValueId> outputs) {
  const std::string& name = site.node(members[0]).name;
  Rewrite result{std::move(members), {make_node(site, gradient.operation(), gradient.inputs, std::move(outputs), name)}};
  return result;
}

/// dx + other. The sum is taken before a ReLU's mask, so there must be none yet.
std::optional<Rewrite> match_add(const FusionSite& site, int first, InputGradient gradient) {
  Conv2dGradientEpilogue& epilogue = gradient.options.epilogue;
  if (epilogue != Conv2dGradientEpilogue{}) return {};
  const ValueId dx = site.node(first).outputs[0];
  const int add = site.only_reader(dx);
  const ValueId other = addend(site, add, dx);
  if (other == kNoValue || other == dx) return {};
  epilogue.add = true;
  gradient.inputs.push_back(other);
  return rewrite(site, {first, add}, gradient, site.node(add).outputs);
}

/// The gradient of a ReLU, or the mask that batch_norm_reduce with residual applies; its sums then read what the convolution stored.
std::optional<Rewrite> match_relu(const FusionSite& site, int first, InputGradient gradient) {
  Conv2dGradientEpilogue& epilogue = gradient.options.epilogue;
  if (epilogue.mask != ReluMask::none || epilogue.reductions) return {};
  const ValueId dx = site.node(first).outputs[0];
  const int reader = site.only_reader(dx);
  if (reader < 0) return {};
  const Node& node = site.node(reader);
  if (is(site, reader, "relu_gradient") && node.inputs[1] == dx) {
    epilogue.mask = ReluMask::output;
    gradient.inputs.push_back(node.inputs[0]);
    return rewrite(site, {first, reader}, gradient, node.outputs);
  }
  const auto reduce = batch_norm_reduce_epilogue(*node.operation);
  if (!reduce || !reduce->add || reduce->activation != Activation::relu || node.inputs[1] != dx) return {};
  epilogue.mask = ReluMask::bits;
  gradient.inputs.push_back(node.inputs[4]);
  const ValueId masked = node.outputs[2];
  Rewrite result = rewrite(site, {first, reader}, gradient, {masked});
  std::vector<ValueId> inputs(node.inputs.begin(), node.inputs.begin() + 4);
  inputs[1] = masked;
  result.replacement.push_back(make_node(site, batch_norm_reduce(), std::move(inputs), {node.outputs[0], node.outputs[1]}, node.name));
  return result;
}

/// Batch normalisation's sums; and, where it recomputes its ReLU's mask, that mask, which nobody then need apply again.
std::optional<Rewrite> match_bn(const FusionSite& site, int first, InputGradient gradient) {
  Conv2dGradientEpilogue& epilogue = gradient.options.epilogue;
  if (epilogue.reductions) return {};
  const ValueId dx = site.node(first).outputs[0];
  const auto& readers = site.uses.readers[static_cast<std::size_t>(dx)];
  const auto reduces = [&](int n) { return batch_norm_reduce_epilogue(*site.node(n).operation) && site.node(n).inputs[1] == dx; };
  const auto found = std::find_if(readers.begin(), readers.end(), reduces);
  if (found == readers.end()) return {};
  const Node& reduce = site.node(*found);
  const BatchNormEpilogue of = *batch_norm_reduce_epilogue(*reduce.operation);
  const bool relu = of.activation == Activation::relu;
  if (relu && of.add) return {};  // dgrad+relu was not to be
  epilogue.reductions = true;
  gradient.inputs.insert(gradient.inputs.end(), {reduce.inputs[0], reduce.inputs[2], reduce.inputs[3]});
  std::vector<int> members{first, *found};
  Node last;
  if (relu) {  // the other reader must be the same normalisation's input gradient
    if (readers.size() != 2 || epilogue.mask != ReluMask::none) return {};
    const int other = readers[0] == *found ? readers[1] : readers[0];
    last = site.node(other);
    const auto options = batch_norm_input_gradient_options(*last.operation);
    if (!options || options->epilogue.activation != Activation::relu || last.inputs[0] != reduce.inputs[0] || last.inputs[1] != dx)
      return {};
    epilogue.mask = ReluMask::recomputed;
    gradient.inputs.insert(gradient.inputs.end(), {reduce.inputs[4], reduce.inputs[5]});
    last.operation = batch_norm_input_gradient(options->training);
    last.inputs.pop_back();  // beta
    members.push_back(other);
  }
  std::sort(members.begin(), members.end());
  Rewrite result = rewrite(site, members, gradient, {dx});
  result.replacement.push_back(make_node(site, batch_norm_reduce_tiles(), {result.replacement[0].outputs[1]}, reduce.outputs, reduce.name));
  if (relu) result.replacement.push_back(std::move(last));
  return result;
}

}  // namespace

std::optional<Rewrite> match_backward(Fusion fusion, const FusionSite& site, int first) {
  auto gradient = input_gradient(site.node(first));
  if (!gradient) return {};
  std::optional<Rewrite> result;
  if (fusion == Fusion::dgrad_add) result = match_add(site, first, std::move(*gradient));
  if (fusion == Fusion::dgrad_relu) result = match_relu(site, first, std::move(*gradient));
  if (fusion == Fusion::dgrad_bn) result = match_bn(site, first, std::move(*gradient));
  if (result)
    for (Node& node : result->replacement) node.backward = true;
  return result;
}

}  // namespace epitaxy
