// Residual networks: He et al. 2016, "Deep residual learning for image recognition".
#include <algorithm>
#include <array>

#include "nn/blocks.h"

namespace epitaxy {

namespace {

/// What joins the residual: the input itself, or its 1x1 projection where the shape changes.
Model::Id shortcut(Model& model, Model::Id x, std::int64_t channels, std::int64_t stride, const std::string& name) {
  if (stride == 1 && model.shape(x)[2] == channels) return x;
  x = model.add(conv1x1(channels, stride, false), x, name + ".downsample.conv");
  return model.add(layers::BatchNorm{}, x, name + ".downsample.bn");
}

/// Two 3x3 convolutions (figure 5 left).
Model::Id basic_block(Model& model, Model::Id x, std::int64_t channels, std::int64_t stride, const std::string& name) {
  Model::Id y = model.add(conv3x3(channels, stride, false), x, name + ".conv1");
  y = model.add(layers::BatchNorm{}, y, name + ".bn1");
  y = model.add(layers::Activate{}, y, name + ".relu1");
  y = model.add(conv3x3(channels, 1, false), y, name + ".conv2");
  y = model.add(layers::BatchNorm{}, y, name + ".bn2");
  y = model.add(layers::Add{}, {y, shortcut(model, x, channels, stride, name)}, name + ".add");
  return model.add(layers::Activate{}, y, name + ".relu2");
}

/// 1x1 down to `width`, 3x3, 1x1 up to 4 * width (figure 5 right); v1.5: the stride is the 3x3's, as in torchvision and MLPerf.
Model::Id bottleneck(Model& model, Model::Id x, std::int64_t width, std::int64_t stride, const std::string& name) {
  Model::Id y = model.add(conv1x1(width, 1, false), x, name + ".conv1");
  y = model.add(layers::BatchNorm{}, y, name + ".bn1");
  y = model.add(layers::Activate{}, y, name + ".relu1");
  y = model.add(conv3x3(width, stride, false), y, name + ".conv2");
  y = model.add(layers::BatchNorm{}, y, name + ".bn2");
  y = model.add(layers::Activate{}, y, name + ".relu2");
  y = model.add(conv1x1(4 * width, 1, false), y, name + ".conv3");
  y = model.add(layers::BatchNorm{}, y, name + ".bn3");
  y = model.add(layers::Add{}, {y, shortcut(model, x, 4 * width, stride, name)}, name + ".add");
  return model.add(layers::Activate{}, y, name + ".relu3");
}

/// Four stages of `blocks`; the first block of the last three halves the image.
Model resnet(const char* name, Shape input, std::int64_t outputs, const std::array<int, 4>& blocks, bool bottlenecks) {
  require_image(name, input, 8);
  Model model(input, name);
  const bool large = std::min(input[0], input[1]) >= 64;
  layers::Conv2d stem = conv3x3(64, 1, false);
  if (large) {
    stem.kernel = {7, 7};
    stem.options.stride = {2, 2};
    stem.options.padding = {3, 3, 3, 3};
  }
  Model::Id x = conv_bn_relu(model, model.input(), stem, "stem");
  if (large) x = model.add(layers::MaxPool2d{{{3, 3}, {2, 2}, {1, 1, 1, 1}}}, x, "stem.pool");
  for (int stage = 0; stage < 4; ++stage)
    for (int block = 0; block < blocks[static_cast<std::size_t>(stage)]; ++block)
      x = (bottlenecks ? bottleneck : basic_block)(model, x, 64 << stage, stage > 0 && block == 0 ? 2 : 1,
                                                   "layer" + std::to_string(stage + 1) + "." + std::to_string(block));
  x = model.add(layers::GlobalAveragePool{}, x, "head.pool");
  classifier(model, x, outputs, "head.dense");
  return model;
}

}  // namespace

Model resnet18(Shape input, std::int64_t outputs) { return resnet("resnet18", input, outputs, {2, 2, 2, 2}, false); }
Model resnet34(Shape input, std::int64_t outputs) { return resnet("resnet34", input, outputs, {3, 4, 6, 3}, false); }
Model resnet50(Shape input, std::int64_t outputs) { return resnet("resnet50", input, outputs, {3, 4, 6, 3}, true); }

}  // namespace epitaxy
