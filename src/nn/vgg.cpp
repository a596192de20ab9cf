// VGG-16 with batch normalisation: Simonyan & Zisserman 2015, configuration D; Ioffe & Szegedy 2015.
#include <algorithm>
#include <array>

#include "nn/blocks.h"

namespace epitaxy {

namespace {
constexpr std::int64_t kLargestMap = 7;  // of the head, as with 224 pixels: larger maps are averaged down to at most this
}

Model vgg(Shape input, std::int64_t outputs, std::vector<std::int64_t> hidden) {
  constexpr std::array<std::pair<int, int>, 5> kStages{{{2, 64}, {2, 128}, {3, 256}, {3, 512}, {3, 512}}};
  require_image("vgg", input, 32);
  if (hidden.empty()) hidden = std::min(input[0], input[1]) >= 128 ? std::vector<std::int64_t>{4096, 4096} : std::vector<std::int64_t>{512};
  Model model(input, "vgg");
  Model::Id x = model.input();
  for (std::size_t stage = 0; stage < kStages.size(); ++stage) {
    const std::string name = "stage" + std::to_string(stage + 1);
    for (int i = 1; i <= kStages[stage].first; ++i)
      x = conv_bn_relu(model, x, conv3x3(kStages[stage].second, 1, false), name + "." + std::to_string(i));
    x = model.add(layers::MaxPool2d{}, x, name + ".pool");
  }
  const Shape map = model.shape(x);
  const std::array<std::int64_t, 2> window{(map[0] + kLargestMap - 1) / kLargestMap, (map[1] + kLargestMap - 1) / kLargestMap};
  if (window[0] > 1 || window[1] > 1) {  // the last row and column of windows may be cut short
    const auto missing = [](std::int64_t side, std::int64_t size) { return (size - side % size) % size; };
    x = model.add(layers::AveragePool2d{{window, window, {0, missing(map[0], window[0]), 0, missing(map[1], window[1])}}, true}, x,
                  "head.pool");
  }
  x = model.add(layers::Flatten{}, x, "head.flatten");
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    const std::string name = "head.dense" + std::to_string(i + 1);
    x = model.add(layers::Dense{hidden[i], Activation::relu}, x, name);
    x = model.add(layers::Dropout{0.5f}, x, name + ".dropout");
  }
  classifier(model, x, outputs, "head.dense" + std::to_string(hidden.size() + 1));
  return model;
}

}  // namespace epitaxy
