// The fast CPU convolution against the reference: shapes, options, types, borders; that it really is the path taken.
#include "cpu/conv2d.h"

#include "epitaxy/ops/conv2d.h"
#include "ops/conv2d.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

struct Case {
  std::int64_t n, h, w, c, k, r, s;
  Conv2dOptions options;
};

Conv2dOptions padded(std::int64_t padding, PaddingMode mode = PaddingMode::zeros) {
  Conv2dOptions options;
  options.padding = {padding, padding, padding, padding};
  options.padding_mode = {mode, mode};
  return options;
}

Conv2dOptions strided(std::int64_t stride, std::int64_t padding) {
  Conv2dOptions options = padded(padding);
  options.stride = {stride, stride};
  return options;
}

Conv2dOptions grouped(std::int64_t groups) {
  Conv2dOptions options = padded(1);
  options.groups = groups;
  return options;
}

/// Named, so that a failure says which.
std::vector<std::pair<std::string, Case>> cases() {
  Conv2dOptions uneven;
  uneven.stride = {2, 1}, uneven.dilation = {1, 2}, uneven.padding = {0, 2, 1, 3};
  Conv2dOptions half_periodic = padded(1);
  half_periodic.padding_mode = {PaddingMode::zeros, PaddingMode::periodic};
  Conv2dOptions twice = padded(9, PaddingMode::periodic);  // wraps more than once around 4 pixels
  Conv2dOptions dilated_periodic = padded(2, PaddingMode::periodic);
  dilated_periodic.dilation = {2, 2};
  return {{"one channel", {2, 12, 12, 1, 32, 3, 3, padded(1)}},
          {"32 to 32", {2, 8, 8, 32, 32, 3, 3, padded(1)}},
          {"32 to 64, odd image", {1, 7, 9, 32, 64, 3, 3, padded(1)}},
          {"1x1", {2, 5, 5, 16, 48, 1, 1, {}}},
          {"odd channels", {2, 6, 7, 5, 7, 3, 3, padded(1)}},
          {"three channels, 7x7 stride 2", {1, 20, 20, 3, 16, 7, 7, strided(2, 3)}},
          {"stride 2", {2, 9, 9, 16, 32, 3, 3, strided(2, 1)}},
          {"1x1 stride 2", {2, 8, 8, 16, 32, 1, 1, strided(2, 0)}},
          {"uneven", {2, 9, 8, 16, 16, 3, 2, uneven}},
          {"two groups", {2, 6, 6, 32, 32, 3, 3, grouped(2)}},
          {"depthwise", {2, 6, 6, 16, 16, 3, 3, grouped(16)}},
          {"odd groups", {1, 6, 6, 6, 9, 3, 3, grouped(3)}},
          {"periodic", {2, 8, 8, 16, 16, 3, 3, padded(1, PaddingMode::periodic)}},
          {"periodic one channel", {2, 8, 8, 1, 8, 5, 5, padded(2, PaddingMode::periodic)}},
          {"periodic columns", {2, 8, 8, 16, 16, 3, 3, half_periodic}},
          {"periodic, wraps twice", {1, 4, 4, 16, 16, 3, 3, twice}},
          {"periodic dilated", {1, 6, 6, 16, 32, 3, 3, dilated_periodic}},
          {"many tiles", {3, 20, 24, 16, 32, 3, 3, padded(1)}},
          {"many tiles, odd image", {4, 17, 15, 48, 16, 3, 3, padded(1)}},
          {"many tiles, unpadded", {2, 26, 22, 32, 64, 3, 3, {}}},
          {"many tiles, periodic", {2, 26, 28, 16, 16, 3, 3, padded(1, PaddingMode::periodic)}},
          {"many tiles, wraps twice", {6, 4, 4, 16, 16, 3, 3, twice}},
          {"one pixel out", {3, 3, 3, 16, 16, 3, 3, {}}}};
}

constexpr std::array kTypes{DType::fp32, DType::bf16, DType::fp16};
const Device kCpu{};

void check(const Operation& operation, const std::vector<Tensor>& inputs) {
  EXPECT_TRUE(meets_tolerance(operation, inputs, run_on(kCpu, operation, inputs)));
}

TEST(CpuConv2d, MeetsTheReference) {
  for (const auto& [what, d] : cases())
    for (const DType dtype : kTypes) {
      if (dtype != DType::fp32 && what.starts_with("many tiles")) continue;  // Winograd is fp32 alone
      SCOPED_TRACE(what + " " + std::string(name(dtype)));
      const Tensor x = make({dtype, {d.n, d.h, d.w, d.c}}, Fill::normal(), 1);
      const Tensor filter = make({dtype, {d.k, d.r, d.s, d.c / d.options.groups}}, Fill::normal(), 2);
      const Tensor bias = make({DType::fp32, {d.k}}, Fill::normal(), 3);
      const auto forward = conv2d(d.options);
      check(*forward, {x, filter});
      check(*forward, {x, filter, bias});
      Conv2dOptions with_relu = d.options;
      with_relu.activation = Activation::relu;
      check(*conv2d(with_relu), {x, filter, bias});
      const Shape y = forward->outputs(std::vector<TensorSpec>{x.spec(), filter.spec()})[0].shape;
      const Tensor dy = make({dtype, y}, Fill::normal(), 4);
      check(*conv2d_input_gradient(d.options, d.h, d.w), {dy, filter});
      check(*conv2d_filter_gradient(d.options, d.r, d.s), {x, dy});
    }
}

/// Residual, ReLU, statistics and a second input around Winograd (fp32, many tiles) and around oneDNN.
TEST(CpuConv2d, EpiloguesAndTwoInputs) {
  for (const DType dtype : kTypes)
    for (const std::int64_t images : {1, 6}) {
      SCOPED_TRACE(text(name(dtype), ", ", images, " images"));
      Conv2dOptions options = padded(1);
      options.second_channels = 32;
      options.residual = options.statistics = true;
      options.activation = Activation::relu;
      const Tensor x = make({dtype, {images, 14, 14, 16}}, Fill::normal(), 1), x2 = make({dtype, {images, 14, 14, 32}}, Fill::normal(), 2);
      const Tensor filter = make({dtype, {32, 3, 3, 48}}, Fill::normal(0, 0.1), 3), bias = make({DType::fp32, {32}}, Fill::normal(), 4);
      const Tensor y = make({dtype, {images, 14, 14, 32}}, Fill::normal(), 5);
      check(*conv2d(options), {x, x2, filter, bias, y});
      check(*conv2d_input_gradient(options, 14, 14), {y, filter});
      check(*conv2d_filter_gradient(options, 3, 3), {x, x2, y});
    }
}

TEST(CpuConv2d, SmallIntegersAreExact) {
  const Conv2dOptions options = padded(1);
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(name(dtype));
    const std::int64_t images = dtype == DType::fp32 ? 20 : 2;  // enough for Winograd
    const Tensor x = make({dtype, {images, 8, 8, 16}}, Fill::integers(-1, 1), 5),
                 filter = make({dtype, {32, 3, 3, 16}}, Fill::integers(-1, 1), 6);
    const Tensor dy = make({dtype, {images, 8, 8, 32}}, Fill::integers(-1, 1), 7);
    const std::vector<std::pair<OperationPtr, std::vector<Tensor>>> passes{{conv2d(options), {x, filter}},
                                                                           {conv2d_input_gradient(options, 8, 8), {dy, filter}},
                                                                           {conv2d_filter_gradient(options, 3, 3), {x, dy}}};
    for (const auto& [operation, inputs] : passes)
      EXPECT_TRUE(same(run_on(kCpu, *operation, inputs)[0], run_on(kCpu, *operation, inputs, true)[0])) << operation->name();
  }
}

TEST(CpuConv2d, NanAndInfinityPass) {
  Conv2dOptions options = padded(1);
  options.activation = Activation::relu;
  for (const std::int64_t images : {1, 20}) {  // the direct path and Winograd
    const Tensor x = make({DType::fp32, {images, 8, 8, 16}}, Fill::normal(), 8),
                 filter = make({DType::fp32, {16, 3, 3, 16}}, Fill::uniform(0.5, 1), 9);
    const Tensor dy = make({DType::fp32, {images, 8, 8, 16}}, Fill::normal(), 10);
    x.as<float>()[16 * 9] = std::numeric_limits<float>::infinity();
    x.as<float>()[16 * 52] = std::numeric_limits<float>::quiet_NaN();
    for (const auto& operation : {conv2d(options), conv2d_filter_gradient(options, 3, 3)}) {
      const std::vector<Tensor> inputs{x, operation->name() == "conv2d" ? filter : dy};
      EXPECT_TRUE(meets_tolerance(*operation, inputs, run_on(kCpu, *operation, inputs), false, true))
          << operation->name() << ", " << images;
    }
  }
}

#if EPITAXY_HAS_ONEDNN
TEST(CpuConv2d, IsFast) {
  const std::array<std::int64_t, 2> size{8, 8}, taps{3, 3};
  for (const DType dtype : kTypes) {
    const TensorSpec x{dtype, {2, 8, 8, 32}}, filter{dtype, {64, 3, 3, 32}}, dy{dtype, {2, 8, 8, 64}};
    const Conv2dOptions options = padded(1);
    EXPECT_NE(cpu_prepare_conv2d(Conv2dPass::forward, conv2d_problem(Conv2dPass::forward, options, taps, std::array{x, filter})), nullptr);
    EXPECT_NE(
        cpu_prepare_conv2d(Conv2dPass::input_gradient, conv2d_problem(Conv2dPass::input_gradient, options, size, std::array{dy, filter})),
        nullptr);
    EXPECT_NE(
        cpu_prepare_conv2d(Conv2dPass::filter_gradient, conv2d_problem(Conv2dPass::filter_gradient, options, taps, std::array{x, dy})),
        nullptr);
  }
}
#endif

}  // namespace
}  // namespace epitaxy::test
