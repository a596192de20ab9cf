// Dynamic loss scaling: updates computed by hand, the scaled gradient, every device against the reference.
#include "epitaxy/ops/loss_scale.h"

#include <limits>

#include "epitaxy/ops/graph.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
const Context kReference{&cpu_backend(), {}, true};

Tensor scalar(double value) { return values(DType::fp32, {1}, {value}); }

void expect_update(const LossScaleOptions& options, double norm, double scale, double steps, double gradient_scale, double next_scale,
                   double next_steps) {
  SCOPED_TRACE(text("norm ", norm, ", scale ", scale, ", steps ", steps));
  const std::vector<Tensor> inputs{scalar(norm), scalar(scale), scalar(steps)};
  const auto out = run(*update_loss_scale(options), inputs, kReference);
  EXPECT_TRUE(close(out[0], scalar(gradient_scale), 0, 1e-6));
  EXPECT_TRUE(same(out[1], scalar(next_scale)));
  EXPECT_TRUE(same(out[2], scalar(next_steps)));
  check_devices(*update_loss_scale(options), inputs, true);
}

TEST(UpdateLossScale, ByHand) {
  const LossScaleOptions options{.interval = 3};
  expect_update(options, 8, 1024, 0, 1.0 / 1024, 1024, 1);
  expect_update(options, 8, 1024, 2, 1.0 / 1024, 2048, 0);  // the third finite step in a row
  expect_update(options, kInf, 1024, 2, 0, 512, 0);         // skipped, halved
  expect_update(options, kNan, 1024, 1, 0, 512, 0);
  expect_update(options, 0, 1024, 1, 1.0 / 1024, 1024, 2);
  expect_update(options, 1, 0x1p24, 2, 0x1p-24, 0x1p24, 0);  // the largest
  expect_update(options, kInf, 0x1p-24, 0, 0, 0x1p-24, 0);   // the smallest
}

TEST(UpdateLossScale, ClipsTheUnscaledNorm) {
  const LossScaleOptions options{.clip_norm = 2};
  expect_update(options, 5 * 64, 64, 0, 0.4 / 64, 64, 1);
  expect_update(options, 1 * 64, 64, 0, 1.0 / 64, 64, 1);
}

TEST(Scale, Devices) {
  for (const std::int64_t count : {1, 3, 4, 5, 1023, 1029})
    check_devices(*scale(), {make({DType::fp32, {count}}, Fill::normal(), 3), scalar(1024)});
}

/// The prediction passes unchanged; what flows back is multiplied.
TEST(ScaleGradient, MultipliesWhatFlowsBack) {
  const Tensor x = make({DType::fp32, {2, 3}}, Fill::normal(), 1);
  EXPECT_TRUE(same(run(*scale_gradient(), {x, scalar(8)}, kReference)[0], x));
  Graph graph;
  const ValueId input = graph.add_value("x", x.spec(), Role::input), factor = graph.add_value("factor", {DType::fp32, {1}}, Role::scalar);
  const ValueId y = graph.add(scale_gradient(), {input, factor})[0];
  const ValueId dy = graph.add_value("dy", x.spec(), Role::input);
  bool wanted[] = {true, false};
  const ValueId gradients[] = {dy};
  GradientBuilder builder(graph, 0, gradients, wanted);
  graph.nodes()[0].operation->differentiate(builder);
  EXPECT_EQ(graph.nodes().back().operation->name(), "scale");
  EXPECT_EQ(graph.nodes().back().inputs, (std::vector<ValueId>{dy, factor}));
  EXPECT_EQ(builder.results()[0], graph.nodes().back().outputs[0]);
  EXPECT_NE(y, kNoValue);
}

TEST(LossScale, Rejects) {
  const TensorSpec one{DType::fp32, {1}}, x{DType::fp32, {4}}, half{DType::fp16, {4}};
  EXPECT_THROW(update_loss_scale({.growth = 1}), Error);
  EXPECT_THROW(update_loss_scale({.backoff = 1}), Error);
  EXPECT_THROW(update_loss_scale({.interval = 0}), Error);
  EXPECT_THROW(update_loss_scale({})->outputs(std::vector<TensorSpec>{one, one, x}), Error);
  EXPECT_THROW(scale()->outputs(std::vector<TensorSpec>{half, one}), Error);
  EXPECT_THROW(scale_gradient()->outputs(std::vector<TensorSpec>{x, x}), Error);
}

}  // namespace
}  // namespace epitaxy::test
