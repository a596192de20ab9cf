// Models that end in pixels: a class for each, targets [N, H, W].
#include <cmath>

#include "epitaxy/plan/compiled_model.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

Model pixel_model() { return sequential({8, 8, 1}, {conv3x3(8, 1, false), layers::BatchNorm{}, layers::Activate{}, conv1x1(3)}); }

CompileOptions pixel_options(Device device) {
  CompileOptions options;
  options.device = device;
  options.input_dtype = DType::uint8;
  options.mean = {120};
  options.scale = {0.01f};
  return options;
}

class PixelsOn : public ::testing::TestWithParam<Device> {};

TEST_P(PixelsOn, LearnsAClassForEachPixel) {
  if (const std::string why = why_absent(GetParam()); !why.empty()) {
    skip_device(GetParam(), why);
    GTEST_SKIP() << why;
  }
  CompiledModel model(pixel_model(), pixel_options(GetParam()));
  const Tensor images = make({DType::uint8, {4, 8, 8, 1}}, Fill::uniform(0, 255), 1), targets(cpu_backend(), {DType::int32, {4, 8, 8}});
  for (std::int64_t i = 0; i < images.count(); ++i)  // dark, medium, bright; every seventh pixel is not labelled
    targets.as<std::int32_t>()[i] = i % 7 == 0 ? -1 : images.as<std::uint8_t>()[i] / 86;
  for (int step = 0; step < 60; ++step) model.train_step(images, targets, 3e-2f);
  const auto metrics = model.take_metrics();
  EXPECT_LT(metrics.back().loss, 0.5f * metrics.front().loss);
  EXPECT_GT(metrics.back().metric, 0.9f);
  const Tensor logits = model.predict(images);
  ASSERT_EQ(logits.spec(), (TensorSpec{DType::fp32, {4, 8, 8, 3}}));
  int right = 0, labelled = 0;
  for (std::int64_t i = 0; i < images.count(); ++i) {
    const float* row = logits.as<float>() + 3 * i;
    if (targets.as<std::int32_t>()[i] < 0) continue;
    ++labelled;
    right += std::max_element(row, row + 3) - row == targets.as<std::int32_t>()[i];
  }
  EXPECT_GT(right, labelled * 8 / 10);  // running statistics, not the batch's
  EXPECT_THROW(model.train_step(images, make({DType::int32, {4}}, Fill::integers(0, 2), 1), 1e-2f), Error);
}

std::string device_name(const ::testing::TestParamInfo<Device>& one) {
  return one.param.kind == DeviceKind::cuda ? "cuda" : name(one.param);
}
INSTANTIATE_TEST_SUITE_P(Devices, PixelsOn, ::testing::ValuesIn(devices()), device_name);

TEST(Pixels, RefusesWhatDoesNotFit) {
  CompileOptions options = pixel_options({});
  options.loss = LossKind::mean_squared_error;
  EXPECT_THROW(CompiledModel(pixel_model(), options), Error);
  options.training = false;  // predictions need no loss
  EXPECT_NO_THROW(CompiledModel(pixel_model(), options));
  options = pixel_options({});
  options.class_weights = {1, 2};
  EXPECT_THROW(CompiledModel(pixel_model(), options), Error);
  options.class_weights = {1, 2, 3};
  EXPECT_NO_THROW(CompiledModel(pixel_model(), options));
}

}  // namespace
}  // namespace epitaxy::test
