// Normalisation, ReLU and max pooling in one operation: hand values, gradients, the separate operations' bits, every device.
#include "epitaxy/ops/batch_norm_max_pool2d.h"

#include <cmath>
#include <limits>

#include "epitaxy/ops/graph.h"
#include "tests/cases/batch_norm_max_pool2d.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr std::array<DType, 3> kTypes{DType::fp32, DType::bf16, DType::fp16};

/// x and its own statistics, gamma, beta; dy of the output's shape.
struct Case {
  Tensor x, mean, inverse_std, gamma, beta, dy;
  Case(const BatchNormMaxPool2dCase& c, DType dtype) {
    const TensorSpec vector{DType::fp32, {c.c}};
    x = make({dtype, {c.n, c.h, c.w, c.c}}, Fill::normal(0.3, 1.5), 1);
    const Context reference{&cpu_backend(), {}, true};
    const Tensor partials = run(*batch_norm_statistics(), {x}, reference)[0];
    const auto statistics = run(*batch_norm_finalize({}, c.n * c.h * c.w),
                                {partials, make(vector, Fill::constant(0), 0), make(vector, Fill::constant(1), 0)}, reference);
    mean = statistics[0], inverse_std = statistics[1];
    gamma = make(vector, Fill::normal(1), 2), beta = make(vector, Fill::normal(0.2), 3);
    dy = make(batch_norm_max_pool2d(true, c.pool)->outputs(std::vector<TensorSpec>{x.spec(), vector, vector, vector, vector})[0],
              Fill::normal(), 4);
  }
  std::vector<Tensor> forward() const { return {x, mean, inverse_std, gamma, beta}; }
  std::vector<Tensor> backward(const Tensor& index) const { return {x, dy, index, mean, inverse_std, gamma, beta}; }
};

TEST(BatchNormMaxPool2d, HandValues) {
  const Tensor x = values(DType::fp32, {1, 2, 4, 1}, {1, 2, -1, -2, 3, 3, -3, -4}), zero = values(DType::fp32, {1}, {0}),
               one = values(DType::fp32, {1}, {1}), gamma = values(DType::fp32, {1}, {2});
  const Tensor dy = values(DType::fp32, {1, 1, 2, 1}, {5, 7});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    SCOPED_TRACE(name(device));
    const auto out = run_on(device, *batch_norm_max_pool2d(true, {}), {x, zero, one, gamma, one});
    EXPECT_TRUE(same(out[0], values(DType::fp32, {1, 1, 2, 1}, {7, 0})));
    EXPECT_TRUE(same(out[1], values(DType::uint8, {1, 1, 2, 1}, {2, 0})));  // the first of 3 and 3; the first of the closed
    const auto sums = run_on(device, *batch_norm_max_pool2d_reduce({}), {x, dy, out[1], zero, one, gamma, one});
    EXPECT_TRUE(close(sums[0], values(DType::fp32, {1}, {15}), 0));
    EXPECT_TRUE(close(sums[1], values(DType::fp32, {1}, {5}), 0));
    EXPECT_TRUE(close(run_on(device, *batch_norm_max_pool2d_input_gradient(false, {}), {x, dy, out[1], zero, one, gamma, one})[0],
                      values(DType::fp32, {1, 2, 4, 1}, {0, 0, 0, 0, 10, 0, 0, 0}), 0));
  }
}

TEST(BatchNormMaxPool2d, GradientInInference) {
  const BatchNormMaxPool2dCase small{1, 5, 4, 2, {{3, 3}, {2, 2}, {1, 1, 1, 1}}};
  const Case c(small, DType::fp32);
  check_gradient(batch_norm_max_pool2d(false, small.pool), c.forward(), {0, 3, 4}, 0, 1e-3, 5e-3);
}

TEST(BatchNormMaxPool2d, Devices) {
  for (const DType dtype : kTypes)
    for (const BatchNormMaxPool2dCase& one : kBatchNormMaxPool2dCases) {
      const Case c(one, dtype);
      SCOPED_TRACE(text(c.x.spec()));
      check_devices(*batch_norm_max_pool2d(true, one.pool), c.forward());
      const Tensor index = run_on({}, *batch_norm_max_pool2d(true, one.pool), c.forward(), true)[1];
      auto inputs = c.backward(index);
      check_devices(*batch_norm_max_pool2d_reduce(one.pool), inputs);
      check_devices(*batch_norm_max_pool2d_input_gradient(false, one.pool), inputs);
      for (const Tensor& sum : run_on({}, *batch_norm_max_pool2d_reduce(one.pool), inputs, true)) inputs.push_back(sum);
      check_devices(*batch_norm_max_pool2d_input_gradient(true, one.pool), inputs);
    }
}

TEST(BatchNormMaxPool2d, EqualsTheSeparateOperations) {
  for (const BatchNormMaxPool2dCase& one : kBatchNormMaxPool2dCases) {
    const Case c(one, DType::fp32);
    for (const Device device : devices()) {
      if (const std::string why = why_absent(device); !why.empty()) {
        skip_device(device, why);
        continue;
      }
      SCOPED_TRACE(text(name(device), " ", c.x.spec()));
      const auto on = [&](const OperationPtr& operation, const std::vector<Tensor>& inputs) { return run_on(device, *operation, inputs); };
      const Tensor wide = on(batch_norm_apply(true, {Activation::relu}), c.forward())[0];
      const auto pooled = on(max_pool2d(one.pool), {wide}), fused = on(batch_norm_max_pool2d(true, one.pool), c.forward());
      EXPECT_TRUE(same(fused[0], pooled[0]));
      EXPECT_TRUE(same(fused[1], pooled[1]));
      if (device.kind == DeviceKind::cpu) continue;  // adds in another order
      const Tensor g = on(max_pool2d_gradient(one.pool, one.h, one.w), {c.dy, pooled[1]})[0];
      const auto sums = on(batch_norm_reduce({Activation::relu}), {c.x, g, c.mean, c.inverse_std, c.gamma, c.beta});
      const Tensor dx =
          on(batch_norm_input_gradient(true, Activation::relu), {c.x, g, c.mean, c.inverse_std, c.gamma, sums[0], sums[1], c.beta})[0];
      auto inputs = c.backward(fused[1]);
      const auto fused_sums = on(batch_norm_max_pool2d_reduce(one.pool), inputs);
      EXPECT_TRUE(same(fused_sums[0], sums[0]));
      EXPECT_TRUE(same(fused_sums[1], sums[1]));
      inputs.insert(inputs.end(), fused_sums.begin(), fused_sums.end());
      EXPECT_TRUE(same(on(batch_norm_max_pool2d_input_gradient(true, one.pool), inputs)[0], dx));
    }
  }
}

TEST(BatchNormMaxPool2d, NanWins) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const Tensor x = values(DType::fp32, {1, 2, 4, 1}, {1, nan, -infinity, 2, infinity, 3, -infinity, 1}),
               zero = values(DType::fp32, {1}, {0}), one = values(DType::fp32, {1}, {1});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    const auto out = run_on(device, *batch_norm_max_pool2d(true, {}), {x, zero, one, one, zero});
    EXPECT_TRUE(std::isnan(numbers(out[0])[0]) && numbers(out[0])[1] == 2) << name(device);
    EXPECT_TRUE(same(out[1], values(DType::uint8, {1, 1, 2, 1}, {1, 1}))) << name(device);
  }
}

TEST(BatchNormMaxPool2d, Rejects) {
  const TensorSpec x{DType::fp32, {1, 4, 4, 2}}, c{DType::fp32, {2}}, y{DType::fp32, {1, 2, 2, 2}}, index{DType::uint8, {1, 2, 2, 2}};
  const auto specs = [](const OperationPtr& operation, std::vector<TensorSpec> inputs) { return operation->outputs(inputs); };
  EXPECT_EQ(specs(batch_norm_max_pool2d(true, {}), {x, c, c, c, c})[0], y);
  EXPECT_THROW(batch_norm_max_pool2d(true, {.kernel = {17, 17}}), Error);
  EXPECT_THROW(specs(batch_norm_max_pool2d(true, {}), {x, c, c, c}), Error);
  EXPECT_THROW(specs(batch_norm_max_pool2d(true, {}), {x, c, c, c, {DType::fp32, {3}}}), Error);
  EXPECT_THROW(specs(batch_norm_max_pool2d(true, {}), {{DType::fp32, {4, 2}}, c, c, c, c}), Error);
  EXPECT_THROW(specs(batch_norm_max_pool2d_reduce({}), {x, x, index, c, c, c, c}), Error);
  EXPECT_THROW(specs(batch_norm_max_pool2d_reduce({}), {x, y, y, c, c, c, c}), Error);
  EXPECT_THROW(specs(batch_norm_max_pool2d_input_gradient(true, {}), {x, y, index, c, c, c, c}), Error);
}

}  // namespace
}  // namespace epitaxy::test
