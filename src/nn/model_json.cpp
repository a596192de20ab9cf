// Models as text: the "model" part of model.json.
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "epitaxy/nn/model.h"
#include "nn/layer_info.h"

namespace epitaxy {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, 5> kInitializers{"he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "orthogonal"};
constexpr std::array<const char*, 4> kRnnModes{"rnn_tanh", "rnn_relu", "lstm", "gru"};
constexpr std::array<const char*, 2> kPaddingModes{"zeros", "periodic"};

Json text_of(Initializer initializer) { return kInitializers[static_cast<std::size_t>(initializer)]; }

template <class Enum, std::size_t N>
Enum choice(const Json& json, const std::array<const char*, N>& names) {
  const auto wanted = json.get<std::string>();
  for (std::size_t i = 0; i < N; ++i)
    if (wanted == names[i]) return static_cast<Enum>(i);
  reject("unknown value '", wanted, "'");
}

Json to_json(const layers::Conv2d& l) {
  const auto& o = l.options;
  return {{"channels", l.channels},
          {"kernel", l.kernel},
          {"stride", o.stride},
          {"dilation", o.dilation},
          {"padding", o.padding},
          {"padding_mode",
           {kPaddingModes[static_cast<std::size_t>(o.padding_mode[0])], kPaddingModes[static_cast<std::size_t>(o.padding_mode[1])]}},
          {"groups", o.groups},
          {"activation", std::string(name(o.activation))},
          {"bias", l.bias},
          {"initializer", text_of(l.initializer)}};
}
Json to_json(const layers::ConvTranspose2d& l) {
  return {{"channels", l.channels}, {"kernel", l.kernel}, {"bias", l.bias}, {"initializer", text_of(l.initializer)}};
}
Json to_json(const layers::Dense& l) {
  return {{"units", l.units}, {"activation", std::string(name(l.activation))}, {"bias", l.bias}, {"initializer", text_of(l.initializer)}};
}
Json to_json(const layers::BatchNorm& l) { return {{"epsilon", l.epsilon}, {"momentum", l.momentum}}; }
Json to_json(const layers::Activate& l) { return {{"function", std::string(name(l.kind))}, {"slope", l.slope}}; }
Json to_json(const Pool2dOptions& o) { return {{"kernel", o.kernel}, {"stride", o.stride}, {"padding", o.padding}}; }
Json to_json(const layers::MaxPool2d& l) { return to_json(l.options); }
Json to_json(const layers::AveragePool2d& l) {
  Json json = to_json(l.options);
  json["exclude_padding"] = l.exclude_padding;
  return json;
}
Json to_json(const layers::GlobalAveragePool&) { return Json::object(); }
Json to_json(const layers::Flatten&) { return Json::object(); }
Json to_json(const layers::Dropout& l) { return {{"rate", l.rate}}; }
Json to_json(const layers::Add&) { return Json::object(); }
Json to_json(const layers::Concat&) { return Json::object(); }
Json to_json(const layers::Softmax& l) { return {{"log", l.log}}; }
Json to_json(const layers::Rnn& l) {
  return {{"mode", kRnnModes[static_cast<std::size_t>(l.mode)]},
          {"hidden", l.hidden},
          {"layers", l.layers},
          {"bidirectional", l.bidirectional},
          {"projection", l.projection},
          {"bias", l.bias},
          {"dropout", l.dropout},
          {"pool", std::string(name(l.pool))}};
}
Json to_json(const layers::Conv1d& l) {
  return {{"channels", l.channels}, {"kernel", l.kernel},
          {"stride", l.stride},     {"dilation", l.dilation},
          {"padding", l.padding},   {"padding_mode", kPaddingModes[static_cast<std::size_t>(l.padding_mode)]},
          {"groups", l.groups},     {"activation", std::string(name(l.activation))},
          {"bias", l.bias},         {"initializer", text_of(l.initializer)}};
}
Json to_json(const layers::MaxPool1d& l) { return {{"kernel", l.kernel}, {"stride", l.stride}, {"padding", l.padding}}; }

/// A size that no product of a few overflows by accident: 0..2^31-1.
std::int64_t size_at(const Json& json) {
  if (!json.is_number_integer()) reject("expected a whole number, got ", json.dump());
  const auto value = json.get<std::int64_t>();
  if (value < 0 || value > std::numeric_limits<std::int32_t>::max()) reject("a size of ", json.dump(), " is out of range");
  return value;
}

template <std::size_t N>
std::array<std::int64_t, N> sizes_at(const Json& json) {
  if (!json.is_array() || json.size() != N) reject("expected ", N, " sizes, got ", json.dump());
  std::array<std::int64_t, N> result{};
  for (std::size_t i = 0; i < N; ++i) result[i] = size_at(json[i]);
  return result;
}

Pool2dOptions pool_of(const Json& json) {
  return {sizes_at<2>(json.at("kernel")), sizes_at<2>(json.at("stride")), sizes_at<4>(json.at("padding"))};
}

Layer layer_of(const std::string& kind, const Json& json) {
  if (kind == "conv") {
    layers::Conv2d l{size_at(json.at("channels")),
                     sizes_at<2>(json.at("kernel")),
                     {},
                     json.at("bias").get<bool>(),
                     choice<Initializer>(json.at("initializer"), kInitializers)};
    l.options.stride = sizes_at<2>(json.at("stride"));
    l.options.dilation = sizes_at<2>(json.at("dilation"));
    l.options.padding = sizes_at<4>(json.at("padding"));
    l.options.padding_mode = {choice<PaddingMode>(json.at("padding_mode").at(0), kPaddingModes),
                              choice<PaddingMode>(json.at("padding_mode").at(1), kPaddingModes)};
    l.options.groups = size_at(json.at("groups"));
    l.options.activation = parse_activation(json.at("activation").get<std::string>());
    return l;
  }
  if (kind == "conv_transpose")
    return layers::ConvTranspose2d{size_at(json.at("channels")), sizes_at<2>(json.at("kernel")), json.at("bias").get<bool>(),
                                   choice<Initializer>(json.at("initializer"), kInitializers)};
  if (kind == "dense")
    return layers::Dense{size_at(json.at("units")), parse_activation(json.at("activation").get<std::string>()), json.at("bias").get<bool>(),
                         choice<Initializer>(json.at("initializer"), kInitializers)};
  if (kind == "bn") return layers::BatchNorm{json.at("epsilon").get<float>(), json.at("momentum").get<float>()};
  if (kind == "activation")
    return layers::Activate{parse_activation(json.at("function").get<std::string>()), json.at("slope").get<float>()};
  if (kind == "max_pool") return layers::MaxPool2d{pool_of(json)};
  if (kind == "average_pool") return layers::AveragePool2d{pool_of(json), json.at("exclude_padding").get<bool>()};
  if (kind == "global_average_pool") return layers::GlobalAveragePool{};
  if (kind == "flatten") return layers::Flatten{};
  if (kind == "dropout") return layers::Dropout{json.at("rate").get<float>()};
  if (kind == "add") return layers::Add{};
  if (kind == "concat") return layers::Concat{};
  if (kind == "softmax") return layers::Softmax{json.at("log").get<bool>()};
  if (kind == "rnn" || kind == "lstm" || kind == "gru")
    return layers::Rnn{.mode = choice<RnnMode>(json.at("mode"), kRnnModes),
                       .hidden = size_at(json.at("hidden")),
                       .layers = size_at(json.at("layers")),
                       .bidirectional = json.at("bidirectional").get<bool>(),
                       .projection = size_at(json.at("projection")),
                       .bias = json.at("bias").get<bool>(),
                       .dropout = json.at("dropout").get<float>(),
                       .pool = parse_sequence_pool(json.at("pool").get<std::string>())};
  if (kind == "conv1d")
    return layers::Conv1d{.channels = size_at(json.at("channels")),
                          .kernel = size_at(json.at("kernel")),
                          .stride = size_at(json.at("stride")),
                          .dilation = size_at(json.at("dilation")),
                          .padding = sizes_at<2>(json.at("padding")),
                          .padding_mode = choice<PaddingMode>(json.at("padding_mode"), kPaddingModes),
                          .groups = size_at(json.at("groups")),
                          .activation = parse_activation(json.at("activation").get<std::string>()),
                          .bias = json.at("bias").get<bool>(),
                          .initializer = choice<Initializer>(json.at("initializer"), kInitializers)};
  if (kind == "max_pool1d")
    return layers::MaxPool1d{size_at(json.at("kernel")), size_at(json.at("stride")), sizes_at<2>(json.at("padding"))};
  reject("unknown layer kind '", kind, "'");
}

}  // namespace

std::string Model::to_json() const {
  Json json{{"name", name_}, {"input", std::vector<std::int64_t>(input_.dims().begin(), input_.dims().end())}};
  if (lengths_) json["lengths"] = true;
  json["layers"] = Json::array();
  for (const auto& entry : entries_) {
    Json layer{{"name", entry.name}, {"kind", kind_of(entry.layer)}, {"inputs", entry.inputs}};
    layer.update(std::visit([](const auto& l) { return epitaxy::to_json(l); }, entry.layer));
    json["layers"].push_back(std::move(layer));
  }
  return json.dump(1);
}

Model Model::from_json(const std::string& text) {
  std::string where = "model";
  try {
    const Json json = Json::parse(text);
    const Json& dims = json.at("input");
    std::vector<std::int64_t> input;
    for (const auto& dim : dims) input.push_back(size_at(dim));
    require(!input.empty() && input.size() < static_cast<std::size_t>(Shape::kMaxRank), "input has ", input.size(), " dimensions");
    Model model{Shape(std::span<const std::int64_t>(input)), json.at("name").get<std::string>()};
    for (const auto& layer : json.at("layers")) {
      const auto name = layer.at("name").get<std::string>();
      where = "model, layer '" + name + "'";
      model.add(layer_of(layer.at("kind").get<std::string>(), layer), layer.at("inputs").get<std::vector<Id>>(), name);
    }
    require(!model.entries().empty(), "it has no layers");
    return json.value("lengths", false) ? model.with_lengths() : model;
  } catch (const nlohmann::json::exception& error) {
    reject(where, ": ", error.what());
  } catch (const Error& error) {
    reject(where, ": ", error.what());
  }
}

}  // namespace epitaxy
