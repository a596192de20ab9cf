#include "plan/fusion_rules.h"

#include <algorithm>

#include "epitaxy/ops/batch_norm_max_pool2d.h"
#include "epitaxy/ops/conv2d.h"
#include "epitaxy/ops/dense.h"

namespace epitaxy {

Node make_node(const FusionSite& site, OperationPtr operation, std::vector<ValueId> inputs, std::vector<ValueId> outputs,
               const std::string& name) {
  const auto specs = operation->outputs(site.graph.specs(inputs));
  for (std::size_t i = outputs.size(); i < specs.size(); ++i)
    outputs.push_back(site.graph.add_value(name + ":" + std::to_string(i), specs[i], Role::intermediate));
  return {std::move(operation), std::move(inputs), std::move(outputs), name, false};
}

bool is(const FusionSite& site, int n, const char* operation) { return n >= 0 && site.node(n).operation->name() == operation; }

ValueId addend(const FusionSite& site, int n, ValueId value) {
  if (!is(site, n, "add")) return kNoValue;
  const auto& inputs = site.node(n).inputs;
  return inputs[0] == value ? inputs[1] : inputs[0];
}

namespace {

bool is_relu(const FusionSite& site, int n) { return n >= 0 && activation_kind(*site.node(n).operation) == Activation::relu; }

/// A convolution whose result may still be changed where it is stored.
const Conv2dOptions* open_conv(const Node& node) {
  const Conv2dOptions* options = conv2d_options(*node.operation);
  return options && options->activation == Activation::none && !options->statistics ? options : nullptr;
}

std::optional<Rewrite> match_concat_conv(const FusionSite& site, int first) {
  if (!is(site, first, "concat")) return {};
  const Node& concat = site.node(first);
  const int reader = site.only_reader(concat.outputs[0]);
  if (concat.inputs.size() != 2 || reader < 0) return {};
  const Node& conv = site.node(reader);
  const Conv2dOptions* given = conv2d_options(*conv.operation);
  if (!given || given->groups != 1 || given->second_channels != 0 || conv.inputs[0] != concat.outputs[0]) return {};
  Conv2dOptions options = *given;
  options.second_channels = site.graph.spec(concat.inputs[1]).shape[-1];
  std::vector<ValueId> inputs = concat.inputs;
  inputs.insert(inputs.end(), conv.inputs.begin() + 1, conv.inputs.end());
  return Rewrite{{first, reader}, {make_node(site, conv2d(options), std::move(inputs), conv.outputs, conv.name)}};
}

std::optional<Rewrite> match_conv_add(const FusionSite& site, int first) {
  const Node& conv = site.node(first);
  const Conv2dOptions* given = open_conv(conv);
  if (!given || given->residual) return {};
  const int add = site.only_reader(conv.outputs[0]);
  const ValueId other = addend(site, add, conv.outputs[0]);
  if (other == kNoValue) return {};
  Conv2dOptions options = *given;
  options.residual = true;
  std::vector<ValueId> inputs = conv.inputs;
  inputs.push_back(other);
  return Rewrite{{first, add}, {make_node(site, conv2d(options), std::move(inputs), site.node(add).outputs, conv.name)}};
}

std::optional<Rewrite> match_conv_relu(const FusionSite& site, int first) {
  const Node& conv = site.node(first);
  const Conv2dOptions* given = open_conv(conv);
  if (!given) return {};
  const int relu = site.only_reader(conv.outputs[0]);
  if (!is_relu(site, relu)) return {};
  Conv2dOptions options = *given;
  options.activation = Activation::relu;
  return Rewrite{{first, relu}, {make_node(site, conv2d(options), conv.inputs, site.node(relu).outputs, conv.name)}};
}

std::optional<Rewrite> match_conv_statistics(const FusionSite& site, int first) {
  const Node& conv = site.node(first);
  const Conv2dOptions* given = conv2d_options(*conv.operation);
  if (!given || given->statistics) return {};
  const auto& readers = site.uses.readers[static_cast<std::size_t>(conv.outputs[0])];
  const auto statistics = std::find_if(readers.begin(), readers.end(), [&](int n) { return is(site, n, "batch_norm_statistics"); });
  if (statistics == readers.end()) return {};
  const int last = site.only_reader(site.node(*statistics).outputs[0]);
  if (last < 0) return {};
  const Node& finalize = site.node(last);
  const BatchNormOptions* norm = batch_norm_finalize_options(*finalize.operation);
  if (!norm) return {};
  Conv2dOptions options = *given;
  options.statistics = true;
  const Shape& y = site.graph.spec(conv.outputs[0]).shape;
  const std::int64_t pixels = y.count() / y[-1];
  Rewrite rewrite{{first, *statistics, last}, {make_node(site, conv2d(options), conv.inputs, conv.outputs, conv.name)}};
  std::vector<ValueId> inputs = finalize.inputs;
  inputs[0] = rewrite.replacement[0].outputs[1];
  rewrite.replacement.push_back(
      make_node(site, batch_norm_finalize(*norm, pixels, kConv2dStatisticsPixels), std::move(inputs), finalize.outputs, finalize.name));
  return rewrite;
}

std::optional<Rewrite> match_dense_relu(const FusionSite& site, int first) {
  const Node& dense = site.node(first);
  const DenseOptions* given = dense_options(*dense.operation);
  if (!given || given->activation != Activation::none) return {};
  const int relu = site.only_reader(dense.outputs[0]);
  if (!is_relu(site, relu)) return {};
  DenseOptions options = *given;
  options.activation = Activation::relu;
  return Rewrite{{first, relu}, {make_node(site, epitaxy::dense(options), dense.inputs, site.node(relu).outputs, dense.name)}};
}

std::optional<Rewrite> match_batch_norm(const FusionSite& site, int first, bool add, bool relu) {
  const Node& apply = site.node(first);
  const auto given = batch_norm_apply_options(*apply.operation);
  if (!given || given->epilogue.add || given->epilogue.activation != Activation::none) return {};
  Rewrite rewrite{{first}, {}};
  std::vector<ValueId> inputs = apply.inputs;
  ValueId result = apply.outputs[0];
  if (add) {
    const int n = site.only_reader(result);
    const ValueId other = addend(site, n, result);
    if (other == kNoValue || other == result) return {};
    inputs.push_back(other);
    rewrite.members.push_back(n);
    result = site.node(n).outputs[0];
  }
  if (relu) {
    const int n = site.only_reader(result);
    if (!is_relu(site, n)) return {};
    rewrite.members.push_back(n);
    result = site.node(n).outputs[0];
  }
  const BatchNormEpilogue epilogue{relu ? Activation::relu : Activation::none, add};
  rewrite.replacement.push_back(make_node(site, batch_norm_apply(given->training, epilogue), std::move(inputs), {result}, apply.name));
  return rewrite;
}

std::optional<Rewrite> match_batch_norm_pool(const FusionSite& site, int first) {
  const Node& apply = site.node(first);
  const auto given = batch_norm_apply_options(*apply.operation);
  if (!given || given->epilogue.add || given->epilogue.activation != Activation::none) return {};
  const int relu = site.only_reader(apply.outputs[0]);
  const int last = is_relu(site, relu) ? site.only_reader(site.node(relu).outputs[0]) : -1;
  if (last < 0) return {};
  const Node& pool = site.node(last);
  const Pool2dOptions* options = max_pool2d_options(*pool.operation);
  if (!options) return {};
  return Rewrite{{first, relu, last},
                 {make_node(site, batch_norm_max_pool2d(given->training, *options), apply.inputs, pool.outputs, apply.name)}};
}

}  // namespace

int FusionSite::only_reader(ValueId value) const {
  const auto& readers = uses.readers[static_cast<std::size_t>(value)];
  const bool needed = std::find(kept.begin(), kept.end(), value) != kept.end();
  return readers.size() == 1 && !needed && graph.value(value).role == Role::intermediate ? readers[0] : -1;
}

std::optional<Rewrite> match(Fusion fusion, const FusionSite& site, int first) {
  switch (fusion) {
    case Fusion::concat_conv: return match_concat_conv(site, first);
    case Fusion::conv_add: return match_conv_add(site, first);
    case Fusion::conv_relu: return match_conv_relu(site, first);
    case Fusion::conv_statistics: return match_conv_statistics(site, first);
    case Fusion::dense_relu: return match_dense_relu(site, first);
    case Fusion::bn_relu_pool: return match_batch_norm_pool(site, first);
    case Fusion::bn_add_relu: return match_batch_norm(site, first, true, true);
    case Fusion::bn_relu: return match_batch_norm(site, first, false, true);
    case Fusion::bn_add: return match_batch_norm(site, first, true, false);
    case Fusion::dgrad_add:
    case Fusion::dgrad_relu:
    case Fusion::dgrad_bn: return match_backward(fusion, site, first);
  }
  return {};
}

}  // namespace epitaxy
