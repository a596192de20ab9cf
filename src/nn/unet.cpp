// U-Net: Ronneberger et al. 2015, with "same" padding and batch normalisation, so that the output has the image's size.
#include <algorithm>

#include "nn/blocks.h"

namespace epitaxy {

namespace {

/// Two 3x3 convolutions.
Model::Id twice(Model& model, Model::Id x, std::int64_t channels, const std::string& name) {
  x = conv_bn_relu(model, x, conv3x3(channels, 1, false), name + ".1");
  return conv_bn_relu(model, x, conv3x3(channels, 1, false), name + ".2");
}

/// How often the image is halved: both sides must be even and stay at 4 pixels or more; at most four times, as in the paper.
int halvings(const Shape& input) {
  int count = 0;
  for (std::int64_t h = input[0], w = input[1]; count < 4 && h % 2 == 0 && w % 2 == 0 && std::min(h, w) >= 8; h /= 2, w /= 2) ++count;
  return count;
}

}  // namespace

Model unet(Shape input, std::int64_t outputs, std::int64_t width) {
  require_image("unet", input, 8);
  require(width >= 1, "unet: width must be at least 1, got ", width);
  const int levels = halvings(input);
  require(levels >= 1, "unet halves the image, so both sides must be even, got ", input,
          "; crop or pad the images, best to multiples of 16");
  Model model(input, "unet");
  Model::Id x = model.input();
  std::vector<Model::Id> skips;
  for (int level = 0; level < levels; ++level) {
    const std::string name = "down" + std::to_string(level + 1);
    skips.push_back(twice(model, x, width << level, name));
    x = model.add(layers::MaxPool2d{}, skips.back(), name + ".pool");
  }
  x = twice(model, x, width << levels, "bottom");
  for (int level = levels - 1; level >= 0; --level) {
    const std::string name = "up" + std::to_string(level + 1);
    x = model.add(layers::ConvTranspose2d{width << level}, x, name + ".upsample");
    x = model.add(layers::Concat{}, {skips[static_cast<std::size_t>(level)], x}, name + ".concat");
    x = twice(model, x, width << level, name);
  }
  model.add(conv1x1(outputs), x, "head");
  return model;
}

}  // namespace epitaxy
