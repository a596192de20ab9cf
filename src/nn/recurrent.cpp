// Recurrent layers and the models made of them.
#include <algorithm>

#include "nn/layer_info.h"

namespace epitaxy {

RnnOptions rnn_options(const layers::Rnn& layer, std::int64_t count) {
  return {.mode = layer.mode,
          .hidden = layer.hidden,
          .layers = count,
          .bidirectional = layer.bidirectional,
          .projection = layer.projection,
          .bias = layer.bias};
}

Shape output_of_rnn(const layers::Rnn& layer, const Shape& input) {
  const std::string_view kind = name(layer.mode);
  require(input.rank() == 2, kind, ": input must be a sequence [T, F], got ", input);
  require(layer.dropout >= 0 && layer.dropout < 1, kind, ": dropout must lie in [0, 1), got ", layer.dropout);
  rnn(rnn_options(layer, layer.layers));  // rejects what the operation would
  const std::int64_t width = (layer.bidirectional ? 2 : 1) * (layer.projection ? layer.projection : layer.hidden);
  return layer.pool == layers::SequencePool::none ? Shape{input[0], width} : Shape{width};
}

std::vector<Parameter> parameters_of_rnn(const layers::Rnn& layer, const Shape& input, const std::string& name) {
  // A uniform He bound is sqrt(6 / fan_in): with six times the hidden size it is 1 / sqrt(hidden), for biases too.
  const std::int64_t fan_in = 6 * layer.hidden;
  std::vector<Parameter> result;
  for (auto& p : rnn_parameters(rnn_options(layer, layer.layers), input[1]))
    result.push_back({name + "." + p.name, p.shape, Parameter::Start::drawn, Initializer::he_uniform, fan_in, fan_in});
  if (layer.pool == layers::SequencePool::attention) {
    using Start = Parameter::Start;
    const std::int64_t units = layer.hidden, width = (layer.bidirectional ? 2 : 1) * (layer.projection ? layer.projection : layer.hidden);
    result.push_back({name + ".attention.weight", {units, width}, Start::drawn, Initializer::glorot_uniform, width, units});
    result.push_back({name + ".attention.bias", {units}, Start::zeros, Initializer::glorot_uniform, 0, 0});
    result.push_back({name + ".attention.score", {1, units}, Start::drawn, Initializer::glorot_uniform, units, 1});
  }
  return result;
}

Model recurrent(RnnMode mode, Shape input, std::int64_t outputs, const RecurrentOptions& options) {
  const std::string name = mode == RnnMode::lstm ? "lstm" : mode == RnnMode::gru ? "gru" : "rnn";
  require(input.rank() == 2, name, ": takes sequences [T, F], not ", input);
  require(!options.hidden.empty(), name, ": needs a hidden layer");
  require(options.pool != layers::SequencePool::none, name, ": pools its sequence by last, mean or attention");
  Model model(input, name);
  Model::Id x = model.input();
  layers::Rnn layer{.mode = mode, .hidden = options.hidden[0], .bidirectional = options.bidirectional, .dropout = options.dropout};
  const auto& hidden = options.hidden;
  if (std::all_of(hidden.begin(), hidden.end(), [&](std::int64_t units) { return units == hidden[0]; })) {
    layer.layers = static_cast<std::int64_t>(hidden.size()), layer.pool = options.pool;  // one operation for all
    x = model.add(layer, x);
  } else {
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      if (i > 0 && options.dropout > 0) x = model.add(layers::Dropout{options.dropout}, x);
      layer.hidden = hidden[i], layer.pool = i + 1 == hidden.size() ? options.pool : layers::SequencePool::none;
      x = model.add(layer, x);
    }
  }
  model.add(layers::Dense{outputs, Activation::none, true, Initializer::glorot_uniform}, x);
  return model;
}

}  // namespace epitaxy
