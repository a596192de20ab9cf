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

TEST(Model, ResNetsHaveThePublishedSizes) {
  // torchvision's counts for 3 channels and 1000 classes; one channel saves 2 * 64 * 49 weights of the stem.
  const std::pair<const char*, std::int64_t> published[] = {{"resnet18", 11689512}, {"resnet34", 21797672}, {"resnet50", 25557032}};
  for (const auto& [name, count] : published) {
    EXPECT_EQ(make_model(name, {224, 224, 3}, 1000).parameter_count(), count) << name;
    EXPECT_EQ(make_model(name, {224, 224, 1}, 1000).parameter_count(), count - 2 * 64 * 49) << name;
    EXPECT_EQ(make_model(name, {32, 40, 1}, 10).output_shape(), Shape{10}) << name;
  }
}

TEST(Model, ResNet50StridesInTheMiddleOfABlock) {
  const Model model = resnet50({224, 224, 1}, 1000);
  int strided = 0;
  for (const auto& entry : model.entries()) {
    const auto* conv = std::get_if<layers::Conv2d>(&entry.layer);
    if (!conv || conv->options.stride[0] == 1) continue;
    ++strided;
    EXPECT_TRUE(entry.name == "stem.conv" || entry.name.ends_with(".0.conv2") || entry.name.ends_with(".downsample.conv")) << entry.name;
  }
  EXPECT_EQ(strided, 1 + 2 * 3);
  EXPECT_EQ(model.shape(static_cast<Model::Id>(model.entries().size()) - 2), (Shape{7, 7, 2048}));
}

TEST(Model, VggHasThePublishedSize) {
  // torchvision's vgg16_bn: 138,365,992 for 3 channels and 1000 classes. Ours has one channel and no bias before a normalisation.
  const std::int64_t first = 2 * 64 * 9, biases = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512;
  EXPECT_EQ(vgg({224, 224, 1}, 1000).parameter_count(), 138365992 - first - biases);
  EXPECT_EQ(vgg({448, 300, 1}, 1000, {4096, 4096}).shape(45), (Shape{7, 5, 512}));  // 14 x 9 averaged by 2 x 2, rounded up to 7 x 5
  // The head of small images: 2 x 2 x 512 features, 512 hidden units.
  const std::int64_t convolutions = 138365992 - (25088 + 1) * 4096LL - 4097 * 4096LL - 4097 * 1000LL - first - biases;
  EXPECT_EQ(vgg({64, 64, 1}, 7).parameter_count(), convolutions + 2048 * 512 + 512 + 512 * 7 + 7);
  EXPECT_EQ(vgg({64, 64, 1}, 7, {100, 50}).parameter_count(), convolutions + 2049 * 100 + 101 * 50 + 51 * 7);
}

TEST(Model, EbsdnetIsThatOfThePaper) {
  const Model model = ebsdnet({60, 60, 1}, 3);
  const std::int64_t convolutions = (9 * 1 + 1) * 256 + (9 * 256 + 1) * 256 + (9 * 256 + 1) * 512 + (9 * 512 + 1) * 512 +
                                    (9 * 512 + 1) * 256 + (9 * 256 + 1) * 256 + (9 * 256 + 1) * 96 + (9 * 96 + 1) * 96;
  EXPECT_EQ(model.parameter_count(), convolutions + (96 * 15 * 15 + 1) * 8192 + 8193 * 2048 + 2049 * 3);
  EXPECT_EQ(ebsdnet({64, 48, 1}, 3).output_shape(), Shape{3});
}

TEST(Model, UnetHasTheSizeOfTheClassicOne) {
  // Two 3x3 convolutions and normalisations a level, 64 to 1024 channels, 2x2 transposed convolutions with bias, 1x1 head.
  const auto twice = [](std::int64_t from, std::int64_t to) { return 9 * from * to + 9 * to * to + 4 * to; };
  std::int64_t count = twice(1, 64) + 65 * 2;
  for (std::int64_t c = 64; c < 1024; c *= 2) count += twice(c, 2 * c) + (4 * 2 * c * c + c) + twice(2 * c, c);
  EXPECT_EQ(count, 31037698 - 2 * 9 * 64);  // milesial/Pytorch-UNet: 31,037,698 for 3 channels and 2 classes
  const Model model = unet({512, 256, 1}, 2);
  EXPECT_EQ(model.parameter_count(), count);
  EXPECT_EQ(model.output_shape(), (Shape{512, 256, 2}));
}

TEST(Model, UnetTakesTheDepthFromTheImage) {
  const auto levels = [](std::int64_t h, std::int64_t w) {
    const Model model = unet({h, w, 1}, 3, 4);
    EXPECT_EQ(model.output_shape(), (Shape{h, w, 3}));
    std::int64_t count = 0;
    for (const auto& entry : model.entries()) count += std::holds_alternative<layers::ConvTranspose2d>(entry.layer);
    return count;
  };
  EXPECT_EQ(levels(2048, 1024), 4);
  EXPECT_EQ(levels(64, 64), 4);
  EXPECT_EQ(levels(100, 60), 2);
  EXPECT_EQ(levels(8, 8), 1);
  EXPECT_THROW(unet({61, 60, 1}, 2), Error);
}

TEST(Model, TooSmallAnImageIsOneErrorWithARemedy) {
  for (const std::string_view name : model_names()) {
    if (name == "mlp" || takes_sequences(name)) continue;
    try {
      make_model(std::string(name), {3, 300, 1}, 2);
      FAIL() << name;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.exit_code(), 2);
      EXPECT_EQ(message.find(name), 0u) << message;
      EXPECT_NE(message.find("[3, 300, 1]; enlarge"), std::string::npos) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos);
    }
  }
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
  EXPECT_THROW(model.add(layers::Concat{}, x), Error);
  EXPECT_THROW(model.add(layers::Concat{}, {model.add(layers::MaxPool2d{}, x), x}), Error);
  EXPECT_EQ(model.shape(model.add(layers::Concat{}, {0, x})), (Shape{8, 8, 7}));
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
