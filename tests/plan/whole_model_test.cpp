// Whole models on every device: three training steps (one, of the large models), in the first and last of which each planned operation
// is held against the reference on its actual inputs.
#include <cmath>

#include "epitaxy/plan/compiled_model.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

struct Case {
  const char* model;
  std::int64_t batch, size;
  Precision precision;
  bool fused = true;
  int steps = 3;
};

class WholeModel : public ::testing::TestWithParam<std::tuple<Device, Case>> {};

TEST_P(WholeModel, EveryPlannedOperationMeetsItsTolerance) {
  const auto& [device, c] = GetParam();
  if (const std::string why = why_absent(device); !why.empty()) {
    skip_device(device, why);
    GTEST_SKIP() << why;
  }
  CompileOptions options;
  options.device = device;
  options.precision = c.precision;
  options.input_dtype = DType::uint8;
  options.mean = {120.0f};
  options.scale = {0.01f};
  options.optimizer.kind = OptimizerKind::adamw;
  options.optimizer.weight_decay = 0.01f;
  options.optimizer.clip_norm = 5;
  if (!c.fused) options.fusion = FusionSet::none();
  CompiledModel compiled(make_model(c.model, {c.size, c.size, 1}, 5, {.hidden = {}, .width = 8}), options);
  const Plan& plan = compiled.training_plan(c.batch);
  DeviceBackend& backend = backend_of(device);
  const auto fetch = [&](const std::vector<Tensor>& tensors) {
    std::vector<Tensor> host;
    for (const auto& tensor : tensors) host.push_back(copy_to(cpu_backend(), tensor, backend));
    return host;
  };
  const Tensor images = make({DType::uint8, {c.batch, c.size, c.size, 1}}, Fill::uniform(0, 255), 11);
  ValueId input = kNoValue, target = kNoValue, rate = kNoValue;
  for (std::size_t id = 0; id < plan.graph().values().size(); ++id) {
    const Value& value = plan.graph().values()[id];
    if (value.role == Role::input) input = static_cast<ValueId>(id);
    if (value.role == Role::target) target = static_cast<ValueId>(id);
    if (value.name == "learning_rate") rate = static_cast<ValueId>(id);
  }
  const Tensor targets = make(plan.graph().spec(target), Fill::integers(0, 4), 12);
  const float learning_rate = 1e-3f;
  for (int step = 0; step < c.steps; ++step) {
    backend.copy(plan.tensor(input).data(), images.data(), images.bytes(), backend.stream());
    backend.copy(plan.tensor(target).data(), targets.data(), targets.bytes(), backend.stream());
    backend.copy(plan.tensor(rate).data(), &learning_rate, sizeof learning_rate, backend.stream());
    backend.synchronize(backend.stream());
    for (const PlannedNode& node : plan.nodes()) {
      if (step == 1) {
        plan.run(node);
        continue;
      }
      const auto before = fetch(node.inputs);
      plan.run(node);
      backend.synchronize(backend.stream());
      if (node.node->operation->is_view()) continue;
      SCOPED_TRACE(text("step ", step, ", ", node.node->name));
      ASSERT_TRUE(meets_tolerance(*node.node->operation, before, fetch(node.outputs), true));
    }
  }
}

std::vector<std::tuple<Device, Case>> cases() {
  std::vector<std::tuple<Device, Case>> result;
  for (const Device device : devices())
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      result.emplace_back(device, Case{"crystalnet", 4, 28, precision});
      if (precision == Precision::bf16) result.emplace_back(device, Case{"crystalnet", 4, 28, Precision::fp16});
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)         // half an hour there, and no kernel that crystalnet lacks
      if (device.kind == DeviceKind::cpu && !EPITAXY_HAS_ONEDNN) continue;  // the reference against itself, for minutes
      result.emplace_back(device, Case{"resnet18", 2, 32, precision});
      result.emplace_back(device, Case{"unet", 1, 16, precision});
      result.emplace_back(device, Case{"resnet50", 2, 8, precision, true, 1});
      result.emplace_back(device, Case{"vgg", 1, 32, precision, true, 1});
#endif
    }
  for (const Device device : devices()) result.emplace_back(device, Case{"crystalnet", 4, 28, Precision::fp32, false});
  return result;
}

std::string case_name(const ::testing::TestParamInfo<std::tuple<Device, Case>>& one) {
  const auto& [device, c] = one.param;
  return text(device.kind == DeviceKind::cuda ? "cuda" : name(device), "_", c.model, "_", name(c.precision), c.fused ? "" : "_unfused");
}

INSTANTIATE_TEST_SUITE_P(Devices, WholeModel, ::testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace epitaxy::test
