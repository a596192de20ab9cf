// The networks that come with Epitaxy, by name, and the smallest two of them.
#include <algorithm>
#include <array>

#include "nn/blocks.h"

namespace epitaxy {

Model mlp(Shape input, std::int64_t outputs, std::vector<std::int64_t> hidden) {
  Model model(input, "mlp");
  Model::Id x = model.input();
  if (input.rank() > 1) x = model.add(layers::Flatten{}, x);
  for (const auto units : hidden) x = model.add(layers::Dense{units, Activation::relu, true, Initializer::he_normal}, x);
  model.add(layers::Dense{outputs, Activation::none, true, Initializer::glorot_uniform}, x);
  return model;
}

Model crystalnet(Shape input, std::int64_t outputs) {
  require_image("crystalnet", input, 16);
  Model model(input, "crystalnet");
  Model::Id x = model.input();
  std::int64_t channels = 16;
  const auto convolve = [&](const std::string& name) {
    x = model.add(conv3x3(channels, 1, false), x, name + ".conv");
    x = model.add(layers::BatchNorm{}, x, name + ".bn");
    x = model.add(layers::Activate{}, x, name + ".relu");
  };
  // Halve the image until it is 8 pixels or less on its shorter side; channels double from 16 to at most 128. Small maps are cheap: the
  // third stage and those after it convolve twice.
  for (int stage = 1; stage == 1 || std::min(model.shape(x)[0], model.shape(x)[1]) > 8; ++stage) {
    const std::string name = "stage" + std::to_string(stage);
    convolve(name);
    if (stage >= 3) convolve(name + ".second");
    x = model.add(layers::MaxPool2d{}, x, name + ".pool");
    channels = std::min<std::int64_t>(channels * 2, 128);
  }
  convolve("head");
  convolve("head.second");
  x = model.add(layers::GlobalAveragePool{}, x, "head.pool");
  classifier(model, x, outputs, "head.dense");
  return model;
}

std::span<const std::string_view> model_names() {
  static constexpr std::array<std::string_view, 12> kNames{"mlp",     "crystalnet", "resnet18", "resnet34", "resnet50", "vgg",
                                                           "ebsdnet", "unet",       "lstm",     "gru",      "rnn",      "xrdnet"};
  return kNames;
}

bool is_recurrent(std::string_view model) { return model == "lstm" || model == "gru" || model == "rnn"; }
bool takes_sequences(std::string_view model) { return is_recurrent(model) || model == "xrdnet"; }

std::string model_list() {
  std::string list;
  for (const std::string_view name : model_names()) list.append(list.empty() ? "" : ", ").append(name);
  return list;
}

Model make_model(const std::string& name, Shape input, std::int64_t outputs, const ModelOptions& options) {
  if (name == "mlp") return options.hidden.empty() ? mlp(input, outputs) : mlp(input, outputs, options.hidden);
  if (name == "crystalnet") return crystalnet(input, outputs);
  if (name == "resnet18") return resnet18(input, outputs);
  if (name == "resnet34") return resnet34(input, outputs);
  if (name == "resnet50") return resnet50(input, outputs);
  if (name == "vgg") return vgg(input, outputs, options.hidden);
  if (name == "ebsdnet") return ebsdnet(input, outputs);
  if (name == "xrdnet") return xrdnet(input, outputs, options.dropout);
  RecurrentOptions sequence{.bidirectional = options.bidirectional, .dropout = options.dropout, .pool = options.pool};
  if (!options.hidden.empty()) sequence.hidden = options.hidden;
  if (name == "rnn") return recurrent(RnnMode::rnn_tanh, input, outputs, sequence);
  if (name == "lstm") return recurrent(RnnMode::lstm, input, outputs, sequence);
  if (name == "gru") return recurrent(RnnMode::gru, input, outputs, sequence);
  if (name == "unet") return unet(input, outputs, options.width);
  reject("unknown model '", name, "': one of ", model_list());
}

}  // namespace epitaxy
