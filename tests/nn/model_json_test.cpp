// Models as text and back.
#include <gtest/gtest.h>

#include "epitaxy/nn/model.h"

namespace epitaxy {
namespace {

/// One model with every kind of layer.
Model everything() {
  Model model({16, 16, 2}, "everything");
  layers::Conv2d conv{6, {5, 3}, {}, false, Initializer::orthogonal};
  conv.options = {{2, 1}, {1, 2}, {2, 1, 0, 3}, {PaddingMode::periodic, PaddingMode::zeros}, 2, Activation::relu, false};
  auto x = model.add(conv, model.input());
  x = model.add(layers::BatchNorm{1e-3f, 0.25f}, x);
  const auto skip = model.add(layers::Activate{Activation::leaky_relu, 0.125f}, x);
  x = model.add(conv3x3(6), skip);
  x = model.add(layers::Add{}, {x, skip});
  x = model.add(layers::Concat{}, {x, skip});
  x = model.add(layers::MaxPool2d{{{3, 3}, {2, 2}, {1, 1, 1, 1}}}, x);
  x = model.add(layers::ConvTranspose2d{5, {2, 3}, false, Initializer::glorot_normal}, x);
  x = model.add(layers::AveragePool2d{{{2, 2}, {1, 1}, {0, 0, 1, 0}}, true}, x);
  const auto pooled = model.add(layers::GlobalAveragePool{}, x);
  x = model.add(layers::Flatten{}, pooled, "flat");
  x = model.add(layers::Dropout{0.25f}, x);
  x = model.add(layers::Dense{3, Activation::tanh, false, Initializer::glorot_normal}, x);
  model.add(layers::Softmax{true}, x);
  return model;
}

TEST(ModelJson, RoundTripKeepsEveryLayer) {
  for (const Model& model : {everything(), mlp({13}, 2), crystalnet({28, 28, 1}, 4), resnet18({64, 64, 1}, 3), resnet50({64, 64, 1}, 3),
                             vgg({300, 32, 1}, 4), ebsdnet({12, 12, 1}, 3), unet({32, 16, 1}, 2, 8)}) {
    const std::string text = model.to_json();
    const Model back = Model::from_json(text);
    EXPECT_EQ(back.to_json(), text);
    EXPECT_EQ(back.name(), model.name());
    EXPECT_EQ(back.output_shape(), model.output_shape());
    ASSERT_EQ(back.entries().size(), model.entries().size());
    const auto got = back.parameters(), want = model.parameters();
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].name, want[i].name);
      EXPECT_EQ(got[i].shape, want[i].shape);
      EXPECT_EQ(got[i].initializer, want[i].initializer);
    }
  }
  const Model back = Model::from_json(everything().to_json());
  const auto& conv = std::get<layers::Conv2d>(back.entries()[0].layer);
  EXPECT_EQ(conv.options.padding, (std::array<std::int64_t, 4>{2, 1, 0, 3}));
  EXPECT_EQ(conv.options.padding_mode[0], PaddingMode::periodic);
  EXPECT_EQ(std::get<layers::BatchNorm>(back.entries()[1].layer).momentum, 0.25f);
  EXPECT_EQ(std::get<layers::Activate>(back.entries()[2].layer).slope, 0.125f);
}

TEST(ModelJson, DamagedTextIsOneClearError) {
  const std::string good = mlp({4}, 2, {3}).to_json();
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  const std::string cases[] = {"",
                               "{",
                               "[]",
                               "{\"name\":\"x\",\"input\":[],\"layers\":[]}",
                               "{\"name\":\"x\",\"input\":[4],\"layers\":[]}",
                               with("\"dense\"", "\"lstm\""),
                               with("\"units\": 3", "\"units\": 0"),
                               with("\"units\": 3", "\"units\": -3"),
                               with("\"units\": 3", "\"units\": 1e30"),
                               with("\"units\": 3", "\"units\": 99999999999"),
                               with("\"units\": 3", "\"unit\": 3"),
                               with("\"relu\"", "\"rely\""),
                               with("\"he_normal\"", "\"he\""),
                               with("\"dense2\"", "\"dense1\""),
                               with("\"input\"", "\"inputs\"")};
  for (const auto& one : cases) {
    try {
      Model::from_json(one);
      FAIL() << "accepted: " << one;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
  // A layer that takes an output that does not exist yet.
  std::string forward = good;
  const auto at = forward.find("\"inputs\"");
  forward.replace(forward.find('0', at), 1, "2");
  EXPECT_THROW(Model::from_json(forward), Error);
}

}  // namespace
}  // namespace epitaxy
