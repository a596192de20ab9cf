// Softmax and log-softmax: hand-computed values, finite differences, every path on every device.
#include "epitaxy/ops/softmax.h"

#include <limits>

#include "tests/cases/softmax.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Softmax, HandValues) {
  const Tensor x = values(DType::fp32, {2, 3}, {1, 2, 3, 0, 0, 0});
  EXPECT_TRUE(close(run_on({}, *softmax(), {x}, true)[0],
                    values(DType::fp32, {2, 3}, {0.0900305732, 0.2447284711, 0.6652409558, 1.0 / 3, 1.0 / 3, 1.0 / 3}), 1e-7));
  EXPECT_TRUE(close(run_on({}, *softmax(true), {x}, true)[0],
                    values(DType::fp32, {2, 3}, {-2.4076059644, -1.4076059644, -0.4076059644, -1.0986122887, -1.0986122887, -1.0986122887}),
                    2e-7));
}

TEST(Softmax, Gradient) {
  for (const bool log : {false, true}) check_gradient(softmax(log), {make({DType::fp32, {3, 5}}, Fill::normal(), 1)}, {0}, 0, 1e-2, 1e-3);
}

TEST(Softmax, Devices) {
  for (const bool log : {false, true})
    for (const DType dtype : {DType::fp32, DType::bf16, DType::fp16})
      for (const Shape& shape : kSoftmaxShapes) {
        SCOPED_TRACE(text(log ? "log " : "", name(dtype), " ", shape));
        const Tensor x = make({dtype, shape}, Fill::normal(0, 3), 1), dy = make({dtype, shape}, Fill::normal(), 2);
        check_devices(*softmax(log), {x}, shape[-1] == 1);  // log(1) = 0
        check_devices(*softmax_gradient(log), {run_on({}, *softmax(log), {x}, true)[0], dy}, shape[-1] == 1);
      }
}

TEST(Softmax, ShiftInvariantAndLargeLogits) {
  const Tensor x = values(DType::fp32, {2, 3}, {1001, 1002, 1003, -3e38, 0, 3e38});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    EXPECT_TRUE(
        close(run_on(device, *softmax(), {x})[0], values(DType::fp32, {2, 3}, {0.0900305732, 0.2447284711, 0.6652409558, 0, 0, 1}), 1e-6));
  }
}

TEST(Softmax, Extremes) {
  for (const std::int64_t columns : {4, 40, 300, 1100}) {
    Tensor x = make({DType::fp32, {4, columns}}, Fill::normal(), 1);
    float* v = x.as<float>();
    v[0] = static_cast<float>(-kInf);
    v[columns + 1] = static_cast<float>(kInf);
    v[2 * columns + 3] = static_cast<float>(kNan);
    for (std::int64_t c = 0; c < columns; ++c) v[3 * columns + c] = static_cast<float>(-kInf);
    for (const bool log : {false, true}) check_devices(*softmax(log), {x}, false, true);
  }
}

TEST(Softmax, Rejects) {
  EXPECT_THROW(softmax()->outputs(std::vector<TensorSpec>{{DType::int32, {2, 2}}}), Error);
  EXPECT_THROW(softmax()->outputs(std::vector<TensorSpec>{{DType::fp32, {}}}), Error);
  EXPECT_THROW(softmax_gradient()->outputs(std::vector<TensorSpec>{{DType::fp32, {2, 2}}, {DType::fp32, {2, 3}}}), Error);
}

}  // namespace
}  // namespace epitaxy::test
