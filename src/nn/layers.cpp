#include "epitaxy/nn/layers.h"

#include <algorithm>

namespace epitaxy {

namespace {
constexpr std::array<std::string_view, 4> kSequencePools{"none", "last", "mean", "attention"};

layers::Conv2d square(std::int64_t size, std::int64_t channels, std::int64_t stride, bool bias, Activation activation) {
  const std::int64_t p = size / 2;
  layers::Conv2d layer{channels, {size, size}, {}, bias, Initializer::he_normal};
  layer.options.stride = {stride, stride};
  layer.options.padding = {p, p, p, p};
  layer.options.activation = activation;
  return layer;
}
}  // namespace

std::string_view name(layers::SequencePool pool) { return kSequencePools[static_cast<std::size_t>(pool)]; }

layers::SequencePool parse_sequence_pool(std::string_view name) {
  const auto at = std::find(kSequencePools.begin(), kSequencePools.end(), name);
  require(at != kSequencePools.end(), "unknown pooling '", name, "': one of none, last, mean, attention");
  return static_cast<layers::SequencePool>(at - kSequencePools.begin());
}

layers::Conv2d conv3x3(std::int64_t channels, std::int64_t stride, bool bias, Activation activation) {
  return square(3, channels, stride, bias, activation);
}

layers::Conv2d conv1x1(std::int64_t channels, std::int64_t stride, bool bias, Activation activation) {
  return square(1, channels, stride, bias, activation);
}

}  // namespace epitaxy
