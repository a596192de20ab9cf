// Recurrent models, compiled: one operation for equal layers and one for each give the same network; training learns; bits repeat.
#include <gtest/gtest.h>

#include <cmath>

#include "cpu/threads.h"
#include "epitaxy/philox.h"
#include "epitaxy/plan/compiled_model.h"
#include "tests/support/compare.h"

namespace epitaxy {
namespace {

using layers::Rnn;
using layers::SequencePool;

constexpr std::int64_t kBatch = 16, kSteps = 12, kFeatures = 3;

Tensor sequences(std::uint64_t seed) {
  Tensor x(cpu_backend(), {DType::fp32, {kBatch, kSteps, kFeatures}});
  Random random(seed, RandomPurpose::test);
  for (float& v : x.span<float>()) v = static_cast<float>(random.normal());
  return x;
}

/// The first feature of the third step: it must be carried to the end.
Tensor wanted(const Tensor& x) {
  Tensor y(cpu_backend(), {DType::fp32, {kBatch, 1}});
  for (std::int64_t n = 0; n < kBatch; ++n) y.as<float>()[n] = x.as<float>()[(n * kSteps + 2) * kFeatures];
  return y;
}

CompileOptions options(Precision precision = Precision::fp32) {
  CompileOptions result;
  result.loss = LossKind::mean_squared_error;
  result.precision = precision;
  result.optimizer.clip_norm = 1;
  result.seed = 4;
  return result;
}

std::vector<float> losses(const Model& model, const CompileOptions& compile, int steps) {
  CompiledModel compiled(model, compile);
  for (int i = 0; i < steps; ++i) {
    const Tensor x = sequences(static_cast<std::uint64_t>(i % 4));
    compiled.train_step(x, wanted(x), 0.01f);
    if (i % 100 == 99) compiled.take_metrics();
  }
  std::vector<float> result;
  for (const StepMetrics& step : compiled.take_metrics()) result.push_back(step.loss);
  return result;
}

TEST(RecurrentModel, LearnsToRemember) {
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    for (const char* name : {"lstm", "gru"}) {
      const auto model = make_model(name, {kSteps, kFeatures}, 1, {.hidden = {24}});
      const auto late = losses(model, options(precision), 350);
      EXPECT_LT(late.back(), 0.3f) << name;  // the targets' variance is 1
    }
}

TEST(RecurrentModel, OneOperationOrOneForEachLayer) {
  const auto with = [](std::int64_t together, bool bidirectional) {
    std::vector<Layer> list;
    for (std::int64_t i = 0; i < 3; i += together)
      list.push_back(Rnn{.mode = RnnMode::gru,
                         .hidden = 5,
                         .layers = together,
                         .bidirectional = bidirectional,
                         .pool = i + together == 3 ? SequencePool::last : SequencePool::none});
    list.push_back(layers::Dense{1});
    return sequential({kSteps, kFeatures}, std::move(list));
  };
  for (const bool bidirectional : {false, true}) {
    CompiledModel one(with(3, bidirectional), options()), each(with(1, bidirectional), options());
    auto weights = one.weights();
    const auto names = each.weights();
    ASSERT_EQ(weights.size(), names.size());
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i].name = names[i].name;
    each.set_weights(weights);
    const Tensor x = sequences(1);
    for (int step = 0; step < 3; ++step) {
      const Tensor a = one.predict(x), b = each.predict(x);
      for (std::int64_t n = 0; n < kBatch; ++n) EXPECT_NEAR(a.as<float>()[n], b.as<float>()[n], 1e-5) << "step " << step;
      one.train_step(x, wanted(x), 0.01f);
      each.train_step(x, wanted(x), 0.01f);
    }
  }
}

/// Dropout between the layers: seeded, none in prediction, the same bits again and on any number of threads.
TEST(RecurrentModel, DropoutRepeats) {
  const auto with = [](float rate) {
    return sequential({kSteps, kFeatures}, {Rnn{.hidden = 8, .layers = 2, .dropout = rate, .pool = SequencePool::mean}, layers::Dense{1}});
  };
  const int before = cpu_threads();
  const auto first = losses(with(0.5f), options(), 5);
  set_cpu_threads(2);
  EXPECT_EQ(losses(with(0.5f), options(), 5), first);
  set_cpu_threads(before);
  EXPECT_NE(losses(with(0), options(), 5), first);
  CompiledModel some(with(0.5f), options()), none(with(0), options());
  const Tensor x = sequences(1), a = some.predict(x), b = none.predict(x);
  for (std::int64_t n = 0; n < kBatch; ++n) EXPECT_EQ(a.as<float>()[n], b.as<float>()[n]);
}

/// On every device each operation of a training step, on its actual inputs: the gradient reads the reserve that the same device wrote.
TEST(RecurrentModel, EveryPlannedOperationMeetsItsTolerance) {
  const auto with = [](SequencePool pool) {
    return sequential({6, kFeatures}, {Rnn{.hidden = 9, .layers = 2, .bidirectional = true, .dropout = 0.25f},
                                       Rnn{.mode = RnnMode::gru, .hidden = 5, .layers = 2, .pool = pool}, layers::Dense{1}});
  };
  const Model models[] = {with(SequencePool::last), with(SequencePool::attention), with(SequencePool::last).with_lengths(),
                          with(SequencePool::mean).with_lengths(), with(SequencePool::attention).with_lengths()};
  for (const Device device : test::devices())
    for (int m = 0; m < 10; ++m) {
      const Model& model = models[m / 2];
      const Precision precision = m % 2 ? Precision::bf16 : Precision::fp32;
      SCOPED_TRACE(text(name(device), " ", name(precision), " model ", m / 2));
      if (const std::string why = test::why_absent(device); !why.empty()) {
        test::skip_device(device, why);
        continue;
      }
      CompileOptions compile = options(precision);
      compile.device = device;
      CompiledModel compiled(model, compile);
      const Plan& plan = compiled.training_plan(kBatch);
      DeviceBackend& backend = backend_of(device);
      const auto fetch = [&](const std::vector<Tensor>& tensors) {
        std::vector<Tensor> host;
        for (const Tensor& tensor : tensors) host.push_back(copy_to(cpu_backend(), tensor, backend));
        return host;
      };
      for (std::size_t id = 0; id < plan.graph().values().size(); ++id) {
        const Value& value = plan.graph().values()[id];
        if (value.role != Role::input && value.role != Role::target) continue;
        const test::Fill fill = value.name == "lengths"      ? test::Fill::integers(1, 6)
                                : value.role == Role::target ? test::Fill::normal(3)  // all above: gradients do not cancel
                                                             : test::Fill::normal();
        const Tensor fed = test::make(value.spec, fill, id);
        backend.copy(plan.tensor(static_cast<ValueId>(id)).data(), fed.data(), fed.bytes(), backend.stream());
      }
      backend.synchronize(backend.stream());
      for (const PlannedNode& node : plan.nodes()) {
        const auto before = fetch(node.inputs);
        plan.run(node);
        backend.synchronize(backend.stream());
        if (node.node->operation->is_view()) continue;
        SCOPED_TRACE(node.node->name);
        ASSERT_TRUE(test::meets_tolerance(*node.node->operation, before, fetch(node.outputs), true));
      }
    }
}

}  // namespace
}  // namespace epitaxy
