// Models: shapes, names, parameter counts against published numbers, errors.
#include "epitaxy/nn/model.h"

#include <gtest/gtest.h>

namespace epitaxy {
namespace {

TEST(Model, SequentialShapesAndNames) {
  const Model model = sequential({28, 28, 1}, {conv3x3(8), layers::BatchNorm{}, layers::Activate{}, layers::MaxPool2d{}, conv3x3(16, 2),
                                               layers::GlobalAveragePool{}, layers::Dense{10}});
  EXPECT_EQ(model.shape(0), (Shape{28, 28, 1}));
  EXPECT_EQ(model.shape(4), (Shape{14, 14, 8}));
  EXPECT_EQ(model.shape(5), (Shape{7, 7, 16}));
  EXPECT_EQ(model.output_shape(), (Shape{10}));
  EXPECT_EQ(model.entries()[0].name, "conv1");
  EXPECT_EQ(model.entries()[4].name, "conv2");
  const auto parameters = model.parameters();
  ASSERT_EQ(parameters.size(), 8u);
  EXPECT_EQ(parameters[0].name, "conv1.weight");
  EXPECT_EQ(parameters[0].shape, (Shape{8, 3, 3, 1}));
  EXPECT_TRUE(parameters[0].decays());
  EXPECT_EQ(parameters[3].name, "bn1.bias");
  EXPECT_FALSE(parameters[3].decays());
  EXPECT_EQ(model.parameter_count(), 8 * 9 + 8 + 8 + 8 + 16 * 9 * 8 + 16 + 160 + 10);
  EXPECT_EQ(model.states()[1].name, "bn1.running_var");
}

TEST(Model, ResNet18HasThePublishedSize) {
  // torchvision: 11,689,512 for 3 channels and 1000 classes; one channel saves 2 * 64 * 49 weights.
  EXPECT_EQ(resnet18({224, 224, 1}, 1000).parameter_count(), 11689512 - 2 * 64 * 49);
  EXPECT_EQ(resnet18({224, 224, 3}, 1000).parameter_count(), 11689512);
  EXPECT_EQ(resnet18({32, 32, 1}, 10).output_shape(), Shape{10});
}

TEST(Model, CrystalnetTakesAnySizeFrom28To256) {
  for (const std::int64_t size : {28, 60, 64, 100, 128, 255, 256})
    EXPECT_EQ(crystalnet({size, size + size / 7, 1}, 7).output_shape(), Shape{7});
  EXPECT_THROW(crystalnet({8, 8, 1}, 2), Error);
  EXPECT_THROW(crystalnet({64}, 2), Error);
}

TEST(Model, ErrorsNameTheLayerAndShapes) {
  Model model({8, 8, 3});
  try {
    model.add(layers::Dense{4}, model.input(), "classifier");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_NE(std::string(error.what()).find("classifier"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("[8, 8, 3]"), std::string::npos);
  }
  EXPECT_THROW(model.add(conv3x3(4), 9), Error);
  const auto x = model.add(conv3x3(4), 0, "a");
  EXPECT_THROW(model.add(conv3x3(4), 0, "a"), Error);
  EXPECT_THROW(model.add(layers::Add{}, {0, x}), Error);
  EXPECT_THROW(make_model("alexnet", {8, 8, 1}, 2), Error);
}

TEST(Model, EveryParameterOfAGraphIsTheModels) {
  const Model model = resnet18({32, 32, 1}, 10);
  const auto parameters = model.parameters();
  for (const bool training : {true, false}) {
    const BuiltModel built = build(model, {4, Precision::bf16, training, 0, DType::uint8, true});
    ASSERT_EQ(built.parameters.size(), parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_EQ(built.graph.value(built.parameters[i]).name, parameters[i].name);
      EXPECT_EQ(built.graph.spec(built.parameters[i]).shape, parameters[i].shape);
      EXPECT_EQ(built.graph.spec(built.parameters[i]).dtype, parameters[i].decays() ? DType::bf16 : DType::fp32);
    }
    EXPECT_EQ(built.states.size(), model.states().size());
    EXPECT_EQ(built.graph.spec(built.output), (TensorSpec{DType::bf16, {4, 10}}));
  }
}

}  // namespace
}  // namespace epitaxy
