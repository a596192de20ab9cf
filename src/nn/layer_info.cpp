#include "nn/layer_info.h"

#include "epitaxy/ops/concat.h"
#include "epitaxy/ops/conv_transpose2d.h"

namespace epitaxy {

namespace {

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

/// A sequence [T, C] as an image of one row; an image as it is.
Shape as_image(const Shape& item) { return item.rank() == 2 ? item.prepend(1) : item; }
Shape as_sequence(const Shape& image) { return Shape{image[1], image[2]}; }

/// Shape of one item after an operation that treats items alike.
Shape through(const Operation& operation, const Shape& item) {
  return operation.outputs(std::vector<TensorSpec>{{DType::fp32, item.prepend(1)}})[0].shape.tail();
}

}  // namespace

std::string kind_of(const Layer& layer) {
  return std::visit(
      Overloaded{[](const layers::Conv2d&) { return "conv"; }, [](const layers::ConvTranspose2d&) { return "conv_transpose"; },
                 [](const layers::Dense&) { return "dense"; }, [](const layers::BatchNorm&) { return "bn"; },
                 [](const layers::Activate&) { return "activation"; }, [](const layers::MaxPool2d&) { return "max_pool"; },
                 [](const layers::AveragePool2d&) { return "average_pool"; },
                 [](const layers::GlobalAveragePool&) { return "global_average_pool"; }, [](const layers::Flatten&) { return "flatten"; },
                 [](const layers::Dropout&) { return "dropout"; }, [](const layers::Add&) { return "add"; },
                 [](const layers::Concat&) { return "concat"; }, [](const layers::Softmax&) { return "softmax"; },
                 [](const layers::Conv1d&) { return "conv1d"; }, [](const layers::MaxPool1d&) { return "max_pool1d"; },
                 [](const layers::Rnn& l) { return l.mode == RnnMode::lstm  ? "lstm"
                                                   : l.mode == RnnMode::gru ? "gru"
                                                                            : "rnn"; }},
      layer);
}

layers::Conv2d as_conv2d(const layers::Conv1d& l) {
  layers::Conv2d result{l.channels, {1, l.kernel}, {}, l.bias, l.initializer};
  result.options.stride = {1, l.stride};
  result.options.dilation = {1, l.dilation};
  result.options.padding = {0, 0, l.padding[0], l.padding[1]};
  result.options.padding_mode[1] = l.padding_mode;
  result.options.groups = l.groups;
  result.options.activation = l.activation;
  return result;
}

layers::MaxPool2d as_max_pool2d(const layers::MaxPool1d& l) { return {{{1, l.kernel}, {1, l.stride}, {0, 0, l.padding[0], l.padding[1]}}}; }

bool respects_lengths(const Layer& layer) {
  return std::visit(Overloaded{[](const layers::Rnn&) { return true; }, [](const layers::GlobalAveragePool&) { return true; },
                               [](const layers::Activate&) { return true; }, [](const layers::Dropout&) { return true; },
                               [](const layers::Add&) { return true; }, [](const layers::Concat&) { return true; },
                               [](const layers::Softmax&) { return true; }, [](const auto&) { return false; }},
                    layer);
}

Shape output_of(const Layer& layer, std::span<const Shape> inputs) {
  const Shape& x = inputs[0];
  const std::size_t wanted = std::holds_alternative<layers::Add>(layer) || std::holds_alternative<layers::Concat>(layer) ? 2 : 1;
  require(inputs.size() == wanted, kind_of(layer), ": takes ", wanted, " inputs, got ", inputs.size());
  return std::visit(
      Overloaded{[&](const layers::Conv2d& l) {
                   require(x.rank() == 3, "conv: input must be [H, W, C], got ", x);
                   require(l.options.groups >= 1 && x[2] % l.options.groups == 0, "conv: ", l.options.groups, " groups do not divide ",
                           x[2], " channels");
                   const TensorSpec w{DType::fp32, {l.channels, l.kernel[0], l.kernel[1], x[2] / l.options.groups}};
                   return conv2d(l.options)->outputs(std::vector<TensorSpec>{{DType::fp32, x.prepend(1)}, w})[0].shape.tail();
                 },
                 [&](const layers::ConvTranspose2d& l) {
                   require(x.rank() == 3, "conv_transpose: input must be [H, W, C], got ", x);
                   const TensorSpec w{DType::fp32, {x[2], l.kernel[0], l.kernel[1], l.channels}};
                   return conv_transpose2d()->outputs(std::vector<TensorSpec>{{DType::fp32, x.prepend(1)}, w})[0].shape.tail();
                 },
                 [&](const layers::Dense& l) {
                   require(x.rank() == 1, "dense: input must be [F], got ", x, "; put Flatten or GlobalAveragePool before it");
                   require(l.units >= 1, "dense: units must be at least 1, got ", l.units);
                   return Shape{l.units};
                 },
                 [&](const layers::MaxPool2d& l) { return through(*max_pool2d(l.options), x); },
                 [&](const layers::AveragePool2d& l) { return through(*average_pool2d(l.options, l.exclude_padding), x); },
                 [&](const layers::GlobalAveragePool&) { return through(*global_average_pool(), as_image(x)); },
                 [&](const layers::Flatten&) { return Shape{x.count()}; },
                 [&](const layers::Dropout& l) {
                   require(l.rate >= 0 && l.rate < 1, "dropout: rate must lie in [0, 1), got ", l.rate);
                   return x;
                 },
                 [&](const layers::Add&) {
                   require(x == inputs[1], "add: shapes ", x, " and ", inputs[1], " differ");
                   return x;
                 },
                 [&](const layers::Concat&) {
                   const TensorSpec both[] = {{DType::fp32, as_image(x).prepend(1)}, {DType::fp32, as_image(inputs[1]).prepend(1)}};
                   require(x.rank() == inputs[1].rank(), "concat: ", x, " and ", inputs[1], " differ in rank");
                   const Shape y = concat()->outputs(both)[0].shape.tail();
                   return x.rank() == 2 ? as_sequence(y) : y;
                 },
                 [&](const layers::Rnn& l) { return output_of_rnn(l, x); },
                 [&](const layers::Conv1d& l) {
                   require(x.rank() == 2, "conv1d: input must be a sequence [T, C], got ", x);
                   const Shape image[] = {as_image(x)};
                   return as_sequence(output_of(as_conv2d(l), image));
                 },
                 [&](const layers::MaxPool1d& l) {
                   require(x.rank() == 2, "max_pool1d: input must be a sequence [T, C], got ", x);
                   return as_sequence(through(*max_pool2d(as_max_pool2d(l).options), as_image(x)));
                 },
                 [&](const auto&) { return x; }},
      layer);
}

std::vector<Parameter> parameters_of(const Layer& layer, const Shape& input, const std::string& name) {
  using Start = Parameter::Start;
  std::vector<Parameter> result;
  const auto vector_parameter = [&](const char* suffix, std::int64_t size, Start start) {
    result.push_back({name + suffix, {size}, start, Initializer::he_normal, 0, 0});
  };
  if (const auto* conv = std::get_if<layers::Conv2d>(&layer)) {
    const std::int64_t area = conv->kernel[0] * conv->kernel[1], per_group = input[2] / conv->options.groups;
    result.push_back({name + ".weight",
                      {conv->channels, conv->kernel[0], conv->kernel[1], per_group},
                      Start::drawn,
                      conv->initializer,
                      area * per_group,
                      area * conv->channels / conv->options.groups});
    if (conv->bias) vector_parameter(".bias", conv->channels, Start::zeros);
  } else if (const auto* up = std::get_if<layers::ConvTranspose2d>(&layer)) {  // every output pixel has one input pixel
    result.push_back({name + ".weight",
                      {input[2], up->kernel[0], up->kernel[1], up->channels},
                      Start::drawn,
                      up->initializer,
                      input[2],
                      up->kernel[0] * up->kernel[1] * up->channels});
    if (up->bias) vector_parameter(".bias", up->channels, Start::zeros);
  } else if (const auto* dense = std::get_if<layers::Dense>(&layer)) {
    result.push_back({name + ".weight", {dense->units, input[0]}, Start::drawn, dense->initializer, input[0], dense->units});
    if (dense->bias) vector_parameter(".bias", dense->units, Start::zeros);
  } else if (std::holds_alternative<layers::BatchNorm>(layer)) {
    vector_parameter(".weight", input[-1], Start::ones);
    vector_parameter(".bias", input[-1], Start::zeros);
  } else if (const auto* row = std::get_if<layers::Conv1d>(&layer)) {
    return parameters_of(as_conv2d(*row), as_image(input), name);
  } else if (const auto* rnn = std::get_if<layers::Rnn>(&layer)) {
    return parameters_of_rnn(*rnn, input, name);
  }
  return result;
}

}  // namespace epitaxy
