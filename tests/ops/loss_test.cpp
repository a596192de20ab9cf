// Losses: hand-computed values, PyTorch's formulas, finite differences, every device against the reference.
#include "epitaxy/ops/loss.h"

#include <cmath>
#include <limits>

#include "epitaxy/ops/graph.h"
#include "tests/cases/loss.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::array<DType, 3> kTypes{DType::fp32, DType::bf16, DType::fp16};

std::vector<Tensor> reference(const OperationPtr& operation, std::vector<Tensor> inputs) { return run_on({}, *operation, inputs, true); }
Tensor fp32(Shape shape, std::initializer_list<double> numbers) { return values(DType::fp32, shape, numbers); }
Tensor classes(Shape shape, std::initializer_list<double> numbers) { return values(DType::int32, shape, numbers); }

TEST(RegressionLoss, HandValues) {
  const Tensor y = fp32({2, 2}, {1, 2, 3, 4}), t = fp32({2, 2}, {1, 2.5, 1, 8});  // differences 0, -0.5, 2, -4
  const auto mse = reference(regression_loss(RegressionLoss::mean_squared_error), {y, t});
  EXPECT_TRUE(close(mse[0], fp32({1}, {5.0625}), 0));
  EXPECT_TRUE(close(mse[1], fp32({2, 2}, {0, -0.25, 1, -2}), 0));
  const auto mae = reference(regression_loss(RegressionLoss::mean_absolute_error), {y, t});
  EXPECT_TRUE(close(mae[0], fp32({1}, {1.625}), 0));
  EXPECT_TRUE(close(mae[1], fp32({2, 2}, {0, -0.25, 0.25, -0.25}), 0));
  const auto huber = reference(regression_loss(RegressionLoss::huber, 2), {y, t});  // 0, 0.125, 2, 2 (4 - 1)
  EXPECT_TRUE(close(huber[0], fp32({1}, {2.03125}), 0));
  EXPECT_TRUE(close(huber[1], fp32({2, 2}, {0, -0.125, 0.5, -0.5}), 0));
}

TEST(RegressionLoss, Gradient) {
  const Tensor y = fp32({2, 3}, {1, -2, 0.5, 3, 0.2, -1}), t = fp32({2, 3}, {0.4, -1, 0.9, 0.5, 3, -0.8});
  for (const RegressionLoss kind : kRegressionLosses) check_gradient(regression_loss(kind, 0.7f), {y, t}, {0}, 0, 1e-2, 1e-4);
}

TEST(RegressionLoss, Devices) {
  for (const RegressionLoss kind : kRegressionLosses)
    for (const DType dtype : kTypes)
      for (const Shape& shape : kRegressionShapes) {
        SCOPED_TRACE(text(static_cast<int>(kind), " ", name(dtype), " ", shape));
        check_devices(*regression_loss(kind, 0.8f),
                      {make({dtype, shape}, Fill::normal(), 1), make({DType::fp32, shape}, Fill::normal(0.3, 1), 2)});
      }
}

TEST(RegressionLoss, NanReachesTheLoss) {
  for (const RegressionLoss kind : kRegressionLosses)
    check_devices(*regression_loss(kind), {fp32({3, 1}, {1, kNan, 2}), fp32({3, 1}, {0, 0, 0})}, false, true);
}

// A million and more rows: the partial sums stay accurate (exact here: every difference is 1).
TEST(RegressionLoss, ManyRows) {
  const std::int64_t rows = (1 << 20) + 3;
  const Tensor y = make({DType::fp32, {rows, 1}}, Fill::constant(3), 0), t = make({DType::fp32, {rows, 1}}, Fill::constant(2), 0);
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    EXPECT_EQ(numbers(run(*regression_loss(RegressionLoss::mean_absolute_error),
                          {copy_to(backend_of(device), y, cpu_backend()), copy_to(backend_of(device), t, cpu_backend())},
                          make_context(device))[0])[0],
              1.0)
        << name(device);
  }
}

TEST(SoftmaxCrossEntropy, HandValues) {
  const Tensor x = fp32({2, 3}, {1, 2, 3, 0, 0, 0}), t = classes({2}, {2, 0});
  const auto plain = reference(softmax_cross_entropy(), {x, t});
  EXPECT_TRUE(close(plain[0], fp32({1}, {(0.4076059644 + 1.0986122887) / 2}), 1e-7));
  EXPECT_TRUE(close(plain[1], fp32({2, 3}, {0.0450152866, 0.1223642355, -0.1673795221, -1.0 / 3, 1.0 / 6, 1.0 / 6}), 1e-7));
  // PyTorch: cross_entropy(x, t, weight=[1, 2, 4]) = (4 * 0.4076 + 1 * 1.0986) / 5
  const Tensor w = fp32({3}, {1, 2, 4});
  EXPECT_TRUE(close(reference(softmax_cross_entropy(), {x, t, w})[0], fp32({1}, {(4 * 0.4076059644 + 1.0986122887) / 5}), 2e-7));
  // label_smoothing=0.3: 0.7 of the former and 0.1 of every class's weighted term, over the same 5
  const double smooth = 1 * 2.4076059644 + 2 * 1.4076059644 + 4 * 0.4076059644 + 7 * 1.0986122887;
  EXPECT_TRUE(close(reference(softmax_cross_entropy(0.3f), {x, t, w})[0],
                    fp32({1}, {(0.7 * (4 * 0.4076059644 + 1.0986122887) + 0.1 * smooth) / 5}), 4e-7));
}

TEST(SoftmaxCrossEntropy, Gradient) {
  const Tensor x = make({DType::fp32, {4, 3}}, Fill::normal(), 1), t = classes({4}, {2, 0, 1, 2}), w = fp32({3}, {0.5, 2, 1.5});
  for (const float smoothing : {0.0f, 0.2f}) {
    check_gradient(softmax_cross_entropy(smoothing), {x, t}, {0}, 0, 1e-2, 1e-4);
    check_gradient(softmax_cross_entropy(smoothing), {x, t, w}, {0}, 0, 1e-2, 1e-4);
  }
}

TEST(SoftmaxCrossEntropy, Devices) {
  for (const DType dtype : kTypes)
    for (const ClassCase& one : kClassCases)
      for (const float smoothing : {0.0f, 0.1f}) {
        SCOPED_TRACE(text(name(dtype), " ", one.rows, "x", one.classes, " smoothing ", smoothing));
        const Tensor x = make({dtype, {one.rows, one.classes}}, Fill::normal(0, 3), 1);
        const Tensor t = make({DType::int32, {one.rows}}, Fill::integers(0, static_cast<int>(one.classes) - 1), 2);
        const bool one_class = one.classes == 1;  // its loss and gradient are 0
        check_devices(*softmax_cross_entropy(smoothing), {x, t}, one_class);
        check_devices(*softmax_cross_entropy(smoothing), {x, t, make({DType::fp32, {one.classes}}, Fill::uniform(0.2, 3), 3)}, one_class);
      }
}

/// A confident prediction keeps its relative precision: loss and gradient far below fp32's step at 1.
TEST(SoftmaxCrossEntropy, ConfidentRows) {
  const Tensor x = fp32({1, 3}, {20, 0, 1}), t = classes({1}, {0});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    const auto got = run_on(device, *softmax_cross_entropy(), {x, t});
    const double others = std::exp(-20.0) + std::exp(-19.0);
    EXPECT_NEAR(numbers(got[0])[0] / std::log1p(others), 1, 1e-5) << name(device);
    EXPECT_NEAR(numbers(got[1])[0] / (-others / (1 + others)), 1, 1e-5) << name(device);
  }
}

TEST(SoftmaxCrossEntropy, ATargetOutOfRangeGivesNan) {
  const Tensor x = make({DType::fp32, {3, 4}}, Fill::normal(), 1), w = fp32({4}, {1, 2, 3, 4});
  for (const double bad : {-2.0, 4.0, 1e9}) {
    const Tensor t = classes({3}, {1, bad, 2});
    check_devices(*softmax_cross_entropy(), {x, t}, false, true);
    check_devices(*softmax_cross_entropy(0.1f), {x, t, w}, true, true);
    for (const Device device : devices()) {
      if (!why_absent(device).empty()) continue;
      EXPECT_TRUE(std::isnan(numbers(run_on(device, *softmax_cross_entropy(), {x, t})[0])[0])) << name(device);
      EXPECT_TRUE(std::isnan(numbers(run_on(device, *softmax_cross_entropy(0.1f), {x, t, w})[0])[0])) << name(device);
    }
  }
}

TEST(SoftmaxCrossEntropy, IgnoredTargetsDoNotCount) {
  const Tensor x = fp32({3, 3}, {1, 2, 3, 5, kNan, -7, 0, 0, 0}), t = classes({3}, {2, -1, 0}), w = fp32({3}, {1, 2, 4});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    SCOPED_TRACE(name(device));
    const auto got = run_on(device, *softmax_cross_entropy(), {x, t});
    EXPECT_TRUE(close(got[0], fp32({1}, {(0.4076059644 + 1.0986122887) / 2}), 2e-7));
    EXPECT_TRUE(close(got[1], fp32({3, 3}, {0.0450152866, 0.1223642355, -0.1673795221, 0, 0, 0, -1.0 / 3, 1.0 / 6, 1.0 / 6}), 2e-7));
    EXPECT_TRUE(close(run_on(device, *softmax_cross_entropy(), {x, t, w})[0], fp32({1}, {(4 * 0.4076059644 + 1.0986122887) / 5}), 3e-7));
    const Tensor none = classes({3}, {-1, -1, -1});
    for (const auto& inputs : {std::vector<Tensor>{x, none}, {x, none, w}}) {
      const auto zero = run_on(device, *softmax_cross_entropy(0.1f), inputs);
      EXPECT_TRUE(close(zero[0], fp32({1}, {0}), 0));
      EXPECT_TRUE(close(zero[1], make(x.spec(), Fill::constant(0), 0), 0));
    }
    EXPECT_TRUE(close(run_on(device, *accuracy(), {x, t})[0], fp32({1}, {1}), 0));
    EXPECT_TRUE(close(run_on(device, *accuracy(), {x, none})[0], fp32({1}, {0}), 0));
  }
}

TEST(SoftmaxCrossEntropy, Pixels) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : kPixelShapes) {
      SCOPED_TRACE(text(name(dtype), " ", shape));
      const int count = static_cast<int>(shape[3]);
      const Tensor x = make({dtype, shape}, Fill::normal(0, 3), 1),
                   t = make({DType::int32, {shape[0], shape[1], shape[2]}}, Fill::integers(-1, count - 1), 2);
      check_devices(*softmax_cross_entropy(), {x, t});
      check_devices(*softmax_cross_entropy(0.1f), {x, t, make({DType::fp32, {shape[3]}}, Fill::uniform(0.2, 3), 3)});
      check_devices(*accuracy(), {x, t}, true);
    }
  const Tensor x = make({DType::fp32, {1, 2, 2, 3}}, Fill::normal(), 1), t = classes({1, 2, 2}, {2, -1, 1, 0});
  check_gradient(softmax_cross_entropy(), {x, t}, {0}, 0, 1e-2, 1e-4);
}

/// The mean over pixels is that over rows of the same values, to the bit.
TEST(SoftmaxCrossEntropy, PixelsAreRows) {
  const Tensor x = make({DType::fp32, {2, 5, 7, 4}}, Fill::normal(), 1), t = make({DType::int32, {2, 5, 7}}, Fill::integers(0, 3), 2);
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    const auto pixels = run_on(device, *softmax_cross_entropy(), {x, t}),
               rows = run_on(device, *softmax_cross_entropy(), {x.reshape({70, 4}), t.reshape({70})});
    EXPECT_TRUE(same(pixels[0], rows[0])) << name(device);
    EXPECT_TRUE(same(pixels[1].reshape({70, 4}), rows[1])) << name(device);
  }
}

TEST(BinaryCrossEntropy, HandValues) {
  const Tensor x = fp32({2, 2}, {0, 2, -100, 100}), t = fp32({2, 2}, {1, 0.25, 0, 0});
  const auto got = reference(binary_cross_entropy(), {x, t});
  EXPECT_TRUE(close(got[0], fp32({1}, {(0.6931471806 + (2 - 0.5 + 0.1269280110) + 0 + 100) / 4}), 1e-5));
  EXPECT_TRUE(close(got[1], fp32({2, 2}, {-0.125, (0.8807970780 - 0.25) / 4, 0, 0.25}), 1e-7));
}

TEST(BinaryCrossEntropy, Gradient) {
  check_gradient(binary_cross_entropy(),
                 {make({DType::fp32, {3, 2}}, Fill::normal(), 1), make({DType::fp32, {3, 2}}, Fill::uniform(0, 1), 2)}, {0}, 0, 1e-2, 1e-4);
}

TEST(BinaryCrossEntropy, Devices) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : kRegressionShapes) {
      SCOPED_TRACE(text(name(dtype), " ", shape));
      check_devices(*binary_cross_entropy(),
                    {make({dtype, shape}, Fill::normal(0, 3), 1), make({DType::fp32, shape}, Fill::uniform(0, 1), 2)});
      check_devices(*binary_cross_entropy(),
                    {make({dtype, shape}, Fill::normal(5, 30), 1), make({DType::fp32, shape}, Fill::integers(0, 1), 2)});
    }
}

TEST(Accuracy, HandValues) {
  const Tensor x = fp32({5, 3}, {1, 2, 2, /**/ 3, 0, 1, /**/ 0, 0, 0, /**/ -1, -2, -0.5, /**/ 1, kNan, 0});
  const Tensor t = classes({5}, {1, 0, 0, 1, 0});  // the first of equals counts: hit, hit, hit, miss; a NaN is no prediction
  for (const Device device : devices())
    if (why_absent(device).empty()) {
      EXPECT_TRUE(close(run_on(device, *accuracy(), {x, t})[0], fp32({1}, {0.6}), 1e-7)) << name(device);
    }
}

TEST(Accuracy, Devices) {
  for (const DType dtype : kTypes)
    for (const ClassCase& one : kClassCases) {
      SCOPED_TRACE(text(name(dtype), " ", one.rows, "x", one.classes));
      check_devices(*accuracy(),
                    {make({dtype, {one.rows, one.classes}}, Fill::integers(-2, 2), 1),
                     make({DType::int32, {one.rows}}, Fill::integers(0, static_cast<int>(one.classes) / 3), 2)},
                    true);
    }
}

TEST(Loss, Rejects) {
  const auto specs = [](const OperationPtr& operation, std::vector<TensorSpec> inputs) { return operation->outputs(inputs); };
  const TensorSpec y{DType::bf16, {4, 3}}, t{DType::fp32, {4, 3}}, labels{DType::int32, {4}};
  EXPECT_NO_THROW(specs(regression_loss(RegressionLoss::huber), {y, t}));
  EXPECT_THROW(specs(regression_loss(RegressionLoss::huber), {y, y}), Error);
  EXPECT_THROW(specs(regression_loss(RegressionLoss::huber), {y, {DType::fp32, {4}}}), Error);
  EXPECT_THROW(specs(regression_loss(RegressionLoss::huber), {{DType::fp32, {0, 3}}, {DType::fp32, {0, 3}}}), Error);
  EXPECT_THROW(regression_loss(RegressionLoss::huber, 0), Error);
  EXPECT_THROW(specs(softmax_cross_entropy(), {y, t}), Error);
  EXPECT_THROW(specs(softmax_cross_entropy(), {y, {DType::int32, {3}}}), Error);
  EXPECT_THROW(specs(softmax_cross_entropy(), {y, labels, {DType::fp32, {4}}}), Error);
  EXPECT_THROW(specs(softmax_cross_entropy(), {{DType::fp32, {4, 3, 1}}, labels}), Error);
  EXPECT_THROW(specs(softmax_cross_entropy(), {{DType::fp32, {2, 4, 4, 3}}, {DType::int32, {2, 4}}}), Error);
  EXPECT_THROW(softmax_cross_entropy(1.0f), Error);
  EXPECT_THROW(specs(accuracy(), {y, {DType::int64, {4}}}), Error);
}

TEST(Loss, TheGradientOfInputZeroIsOutputOne) {
  Graph graph;
  const ValueId y = graph.add_value("y", {DType::fp32, {2, 3}}, Role::parameter),
                t = graph.add_value("t", {DType::int32, {2}}, Role::target);
  const auto outputs = graph.add(softmax_cross_entropy(), {y, t});
  const std::array<ValueId, 1> wanted{y};
  EXPECT_EQ(differentiate(graph, outputs[0], wanted)[0], outputs[1]);
}

}  // namespace
}  // namespace epitaxy::test
