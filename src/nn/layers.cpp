#include "epitaxy/nn/layers.h"

namespace epitaxy {

namespace {
layers::Conv2d square(std::int64_t size, std::int64_t channels, std::int64_t stride, bool bias, Activation activation) {
  const std::int64_t p = size / 2;
  layers::Conv2d layer{channels, {size, size}, {}, bias, Initializer::he_normal};
  layer.options.stride = {stride, stride};
  layer.options.padding = {p, p, p, p};
  layer.options.activation = activation;
  return layer;
}
}  // namespace

layers::Conv2d conv3x3(std::int64_t channels, std::int64_t stride, bool bias, Activation activation) {
  return square(3, channels, stride, bias, activation);
}

layers::Conv2d conv1x1(std::int64_t channels, std::int64_t stride, bool bias, Activation activation) {
  return square(1, channels, stride, bias, activation);
}

}  // namespace epitaxy
