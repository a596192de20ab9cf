// The distinct convolutions of whole networks at training size.
#pragma once

#include <map>

#include "epitaxy/nn/model.h"
#include "tests/cases/conv2d.h"

namespace epitaxy::bench {

inline std::vector<test::Conv2dCase> convolutions_of(const Model& model, std::int64_t batch) {
  std::map<std::string, test::Conv2dCase> found;
  for (const auto& entry : model.entries()) {
    const auto* conv = std::get_if<layers::Conv2d>(&entry.layer);
    if (!conv) continue;
    const Shape& x = model.shape(entry.inputs[0]);
    test::Conv2dCase one{{}, batch, x[0], x[1], x[2], conv->channels, conv->kernel[0], conv->kernel[1], conv->options};
    one.options.activation = Activation::none;
    one.name = text(model.name(), " ", one.r, "x", one.s, one.options.stride[0] > 1 ? "/2 " : " ", one.h, " ", one.c, "->", one.k);
    found.emplace(one.name, one);
  }
  std::vector<test::Conv2dCase> result;
  for (auto& [name, one] : found) result.push_back(std::move(one));
  return result;
}

inline std::vector<test::Conv2dCase> network_layers() {
  std::vector<test::Conv2dCase> result;
  for (const auto& [model, batch] : {std::pair{resnet50({224, 224, 1}, 1000), 64}, std::pair{unet({512, 512, 1}, 2), 8},
                                     std::pair{ebsdnet({60, 60, 1}, 3), 64}, std::pair{crystalnet({64, 64, 1}, 7), 64}})
    for (auto& one : convolutions_of(model, batch)) result.push_back(std::move(one));
  return result;
}

}  // namespace epitaxy::bench
