// fp16 training: gradients that would underflow survive, a step that overflows is skipped, the scale is kept with the optimizer's state.
#include <algorithm>

#include "epitaxy/ops/loss_scale.h"
#include "epitaxy/plan/compiled_model.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

Model small_model() {
  return sequential({8, 8, 1},
                    {conv3x3(8, 1, false), layers::BatchNorm{}, layers::Activate{}, layers::GlobalAveragePool{}, layers::Dense{3}});
}

CompileOptions half_options(Device device) {
  CompileOptions options;
  options.device = device;
  options.precision = Precision::fp16;
  options.optimizer.clip_norm = 1;
  options.optimizer.kind = OptimizerKind::adamw;
  return options;
}

void train(CompiledModel& model, int steps) {
  for (int step = 0; step < steps; ++step) {
    const auto seed = static_cast<std::uint64_t>(step);
    model.train_step(make({DType::fp32, {6, 8, 8, 1}}, Fill::normal(), seed), make({DType::int32, {6}}, Fill::integers(0, 2), seed), 1e-2f);
  }
}

double state_of(const CompiledModel& model, const std::string& name) {
  for (const auto& array : model.optimizer_state())
    if (array.name == name) return numbers(array.tensor)[0];
  return -1;
}

void set_loss_scale(CompiledModel& model, double scale) {
  auto state = model.optimizer_state();
  std::ranges::find(state, "loss_scale", &NamedTensor::name)->tensor = values(DType::fp32, {1}, {scale});
  model.set_optimizer_state(state);
}

class LossScale : public ::testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    if (const std::string why = why_absent(GetParam()); !why.empty()) {
      skip_device(GetParam(), why);
      GTEST_SKIP() << why;
    }
  }
};

TEST_P(LossScale, CountsFiniteSteps) {
  CompiledModel model(small_model(), half_options(GetParam()));
  set_loss_scale(model, 1024);
  train(model, 3);
  EXPECT_EQ(state_of(model, "loss_scale"), 1024);
  EXPECT_EQ(state_of(model, "finite_steps"), 3);
  for (const auto& metrics : model.take_metrics()) EXPECT_LT(metrics.loss, 5);
}

TEST_P(LossScale, AnOverflowSkipsTheStepAndHalvesTheScale) {
  CompiledModel model(small_model(), half_options(GetParam()));
  set_loss_scale(model, 0x1p23);  // beyond fp16's 65504, whatever the gradient's few tenths
  const auto before = model.weights();
  train(model, 1);
  EXPECT_EQ(state_of(model, "loss_scale"), 0x1p22);
  EXPECT_EQ(state_of(model, "finite_steps"), 0);
  EXPECT_EQ(model.step(), 1);
  const auto after = model.weights();
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i].name.starts_with("bn1.running")) continue;
    EXPECT_TRUE(same(after[i].tensor, before[i].tensor)) << before[i].name;
  }
  train(model, 30);  // it recovers
  EXPECT_LT(state_of(model, "loss_scale"), 0x1p20);
  EXPECT_FALSE(same(model.weights()[0].tensor, before[0].tensor));
}

/// The scale divides out: one step from two scales, both far from the ends of fp16, moves the weights alike.
TEST_P(LossScale, DividesOut) {
  std::vector<std::vector<NamedTensor>> results;
  for (const double scale : {64.0, 1024.0}) {
    CompiledModel model(small_model(), half_options(GetParam()));
    set_loss_scale(model, scale);
    train(model, 1);
    results.push_back(model.weights());
  }
  for (std::size_t i = 0; i < results[0].size(); ++i)
    EXPECT_TRUE(close(results[0][i].tensor, results[1][i].tensor, 2e-3)) << results[0][i].name;
}

INSTANTIATE_TEST_SUITE_P(Devices, LossScale, ::testing::ValuesIn(devices()),
                         [](const auto& one) { return one.param.kind == DeviceKind::cuda ? std::string("cuda") : name(one.param); });

}  // namespace
}  // namespace epitaxy::test
