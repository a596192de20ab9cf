// The networks that come with Epitaxy.
#include "epitaxy/nn/model.h"

namespace epitaxy {

namespace {

void require_image(const char* model, const Shape& input) {
  require(input.rank() == 3, model, " takes images [H, W, C], got ", input, "; use --model mlp for tables");
}

/// Two 3x3 convolutions with a residual (He et al. 2016, figure 5 left); 1x1 projection where the shape changes.
Model::Id basic_block(Model& model, Model::Id x, std::int64_t channels, std::int64_t stride, const std::string& name) {
  const bool project = stride != 1 || model.shape(x)[2] != channels;
  Model::Id y = model.add(conv3x3(channels, stride, false), x, name + ".conv1");
  y = model.add(layers::BatchNorm{}, y, name + ".bn1");
  y = model.add(layers::Activate{}, y, name + ".relu1");
  y = model.add(conv3x3(channels, 1, false), y, name + ".conv2");
  y = model.add(layers::BatchNorm{}, y, name + ".bn2");
  if (project) {
    x = model.add(conv1x1(channels, stride, false), x, name + ".downsample.conv");
    x = model.add(layers::BatchNorm{}, x, name + ".downsample.bn");
  }
  y = model.add(layers::Add{}, {y, x}, name + ".add");
  return model.add(layers::Activate{}, y, name + ".relu2");
}

}  // namespace

Model mlp(Shape input, std::int64_t outputs, std::vector<std::int64_t> hidden) {
  Model model(input, "mlp");
  Model::Id x = model.input();
  if (input.rank() > 1) x = model.add(layers::Flatten{}, x);
  for (const auto units : hidden) x = model.add(layers::Dense{units, Activation::relu, true, Initializer::he_normal}, x);
  model.add(layers::Dense{outputs, Activation::none, true, Initializer::glorot_uniform}, x);
  return model;
}

Model crystalnet(Shape input, std::int64_t outputs) {
  require_image("crystalnet", input);
  require(input[0] >= 16 && input[1] >= 16, "crystalnet takes images of at least 16 x 16 pixels, got ", input);
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
  model.add(layers::Dense{outputs, Activation::none, true, Initializer::glorot_uniform}, x, "head.dense");
  return model;
}

Model resnet18(Shape input, std::int64_t outputs) {
  require_image("resnet18", input);
  Model model(input, "resnet18");
  const bool large = std::min(input[0], input[1]) >= 64;
  layers::Conv2d stem = conv3x3(64, 1, false);
  if (large) {
    stem.kernel = {7, 7};
    stem.options.stride = {2, 2};
    stem.options.padding = {3, 3, 3, 3};
  }
  Model::Id x = model.add(stem, model.input(), "stem.conv");
  x = model.add(layers::BatchNorm{}, x, "stem.bn");
  x = model.add(layers::Activate{}, x, "stem.relu");
  if (large) x = model.add(layers::MaxPool2d{{{3, 3}, {2, 2}, {1, 1, 1, 1}}}, x, "stem.pool");
  for (int stage = 0; stage < 4; ++stage)
    for (int block = 0; block < 2; ++block)
      x = basic_block(model, x, 64 << stage, stage > 0 && block == 0 ? 2 : 1,
                      "layer" + std::to_string(stage + 1) + "." + std::to_string(block));
  x = model.add(layers::GlobalAveragePool{}, x, "head.pool");
  model.add(layers::Dense{outputs, Activation::none, true, Initializer::glorot_uniform}, x, "head.dense");
  return model;
}

Model make_model(const std::string& name, Shape input, std::int64_t outputs) {
  if (name == "mlp") return mlp(input, outputs);
  if (name == "crystalnet") return crystalnet(input, outputs);
  if (name == "resnet18") return resnet18(input, outputs);
  reject("unknown model '", name, "': one of mlp, crystalnet, resnet18");
}

}  // namespace epitaxy
