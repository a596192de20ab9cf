// Recomputation where memory is short: it fits the limit, keeps every bit, and says what would fit where it cannot.
#include "epitaxy/plan/compiled_model.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

CompileOptions options_with(std::uint64_t limit, Precision precision, FusionSet fusion = FusionSet::all()) {
  CompileOptions options;
  options.precision = precision;
  options.input_dtype = DType::uint8;
  options.mean = {120};
  options.scale = {0.01f};
  options.fusion = fusion;
  options.memory_limit = limit;
  return options;
}

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 50;
constexpr std::int64_t kBatch = 6;

std::size_t whole(const MemorySummary& memory) { return memory.total() + fixed_overhead({}); }

/// Two steps and the plan's memory.
struct Trained {
  std::vector<NamedTensor> weights;
  std::vector<StepMetrics> metrics;
  MemorySummary memory;
};
Trained train(const Model& model, const CompileOptions& options) {
  CompiledModel compiled(model, options);
  const std::int64_t size = model.input_shape()[0];
  const Shape each = model.output_shape().rank() == 3 ? Shape{kBatch, size, size} : Shape{kBatch};
  const Tensor images = make({DType::uint8, {kBatch, size, size, 1}}, Fill::uniform(0, 255), 1),
               targets = make({DType::int32, each}, Fill::integers(0, 2), 2);
  for (int step = 0; step < 2; ++step) compiled.train_step(images, targets, 1e-2f);
  return {compiled.weights(), compiled.take_metrics(), compiled.memory()};
}

/// Convolutions, normalisation, a residual, pooling, dropout, a flattened dense head: everything that may be computed again.
Model many_layers() {
  Model model({16, 16, 1}, "many");
  Model::Id x = model.chain(model.input(), {conv3x3(8, 1, false), layers::BatchNorm{}, layers::Activate{}});
  for (int block = 0; block < 3; ++block) {
    const Model::Id y =
        model.chain(x, {conv3x3(8, 1, false), layers::BatchNorm{}, layers::Activate{}, conv3x3(8, 1, false), layers::BatchNorm{}});
    x = model.add(layers::Activate{}, model.add(layers::Add{}, {y, x}));
  }
  x = model.chain(x, {layers::MaxPool2d{}, conv3x3(16, 1, true), layers::Activate{Activation::gelu}, layers::Flatten{},
                      layers::Dropout{0.25f}, layers::Dense{24, Activation::tanh}, layers::Dense{3}});
  return model;
}

TEST(Recompute, EveryLimitThatCanBeMetKeepsTheBits) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a build for TSan has no oneDNN, and the reference's loops would take many minutes";
#else
  const Model model = many_layers();
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    for (const FusionSet fusion : {FusionSet::all(), FusionSet::none()}) {
      SCOPED_TRACE(text(name(precision), fusion == FusionSet::all() ? " fused" : ""));
      const MemorySummary free = plan_memory(model, options_with(kPlenty, precision, fusion), kBatch);
      EXPECT_TRUE(free.recompute.nodes.empty());
      const MemorySummary least = plan_memory(model, options_with(1, precision, fusion), kBatch);
      EXPECT_LT(least.arena, free.arena * 3 / 4);
      EXPECT_EQ(least.recompute.arena_before, free.arena);
      const Trained kept = train(model, options_with(kPlenty, precision, fusion));
      EXPECT_EQ(kept.memory.total(), free.total());
      double work = 0;
      for (const double share : {0.9, 0.5, 0.0}) {
        const auto saved = static_cast<std::size_t>(share * static_cast<double>(free.arena - least.arena));
        const CompileOptions options = options_with(whole(least) + saved, precision, fusion);
        const MemorySummary foretold = plan_memory(model, options, kBatch);
        EXPECT_LE(whole(foretold), options.memory_limit);
        EXPECT_FALSE(foretold.recompute.nodes.empty());
        EXPECT_GE(foretold.recompute.bytes, work);  // the less memory, the more work
        work = foretold.recompute.bytes;
        const Trained again = train(model, options);
        EXPECT_EQ(again.memory.total(), foretold.total());
        for (std::size_t i = 0; i < kept.weights.size(); ++i)
          EXPECT_TRUE(same(kept.weights[i].tensor, again.weights[i].tensor)) << kept.weights[i].name;
        for (std::size_t i = 0; i < kept.metrics.size(); ++i) EXPECT_EQ(kept.metrics[i].loss, again.metrics[i].loss);
      }
    }
#endif
}

class RecomputeOn : public ::testing::TestWithParam<Device> {};

TEST_P(RecomputeOn, KeepsTheBitsOfAUnet) {
  if (const std::string why = why_absent(GetParam()); !why.empty()) {
    skip_device(GetParam(), why);
    GTEST_SKIP() << why;
  }
  const Model model = unet({16, 16, 1}, 3, 4);
  CompileOptions options = options_with(kPlenty, Precision::bf16);
  options.device = GetParam();
  const Trained kept = train(model, options);
  options.memory_limit = 1;
  const MemorySummary least = plan_memory(model, options, kBatch);
  EXPECT_LT(least.arena, kept.memory.arena);
  options.memory_limit = least.total() + fixed_overhead(GetParam());
  const Trained again = train(model, options);
  EXPECT_EQ(again.memory.arena, plan_memory(model, options, kBatch).arena);
  for (std::size_t i = 0; i < kept.weights.size(); ++i)
    EXPECT_TRUE(same(kept.weights[i].tensor, again.weights[i].tensor)) << kept.weights[i].name;
}

std::string device_name(const ::testing::TestParamInfo<Device>& one) {
  return one.param.kind == DeviceKind::cuda ? "cuda" : name(one.param);
}
INSTANTIATE_TEST_SUITE_P(Devices, RecomputeOn, ::testing::ValuesIn(devices()), device_name);

TEST(Recompute, CheapNodesComeFirst) {
  const Model model = resnet18({64, 64, 1}, 5);
  const MemorySummary free = plan_memory(model, options_with(kPlenty, Precision::fp32), 8);
  const MemorySummary less = plan_memory(model, options_with(whole(free) - free.arena / 10, Precision::fp32), 8);
  ASSERT_FALSE(less.recompute.nodes.empty());
  for (const auto& label : less.recompute.nodes)  // the stem has one input channel: little work
    EXPECT_TRUE(label.operation != "conv2d" || label.node == "stem.conv") << label.node;
  EXPECT_LE(less.arena, free.arena * 9 / 10);
}

TEST(Recompute, DeepModelsFitIntoMuchLess) {
  std::vector<Layer> stack;
  for (int i = 0; i < 24; ++i) {
    stack.push_back(conv3x3(8, 1, false));
    stack.push_back(layers::BatchNorm{});
    stack.push_back(layers::Activate{});
  }
  stack.push_back(layers::GlobalAveragePool{});
  stack.push_back(layers::Dense{3});
  const Model model = sequential({32, 32, 1}, stack);
  const MemorySummary free = plan_memory(model, options_with(kPlenty, Precision::fp32), kBatch);
  const MemorySummary least = plan_memory(model, options_with(1, Precision::fp32), kBatch);
  EXPECT_LT(least.arena, free.arena / 2);
  double forward = 0;  // nothing is computed a third time
  for (const PlanRow& row : plan_rows(model, options_with(kPlenty, Precision::fp32), kBatch)) forward += row.forward_flops;
  EXPECT_LE(least.recompute.flops, forward);
}

TEST(Recompute, SaysWhatWouldFit) {
  const Model model = many_layers();
  const MemorySummary least = plan_memory(model, options_with(1, Precision::fp32), kBatch);
  EXPECT_NO_THROW(require_memory(model, options_with(whole(least), Precision::fp32), kBatch));
  try {
    require_memory(model, options_with(whole(least) - 1, Precision::fp32), kBatch);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::failure);
    const std::string what = error.what();
    for (const char* part : {"batch 6 needs", "computed again", "--batch ", " fits", "--memory-limit "})
      EXPECT_NE(what.find(part), std::string::npos) << what;
    EXPECT_EQ(what.find('\n'), std::string::npos);
  }
  try {
    require_memory(model, options_with(1000, Precision::fp32), kBatch);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("not even a batch of 1"), std::string::npos) << error.what();
  }
  CompiledModel compiled(model, options_with(whole(least), Precision::fp32));
  const std::int64_t large[] = {kBatch * 8}, fits[] = {kBatch};
  EXPECT_THROW(compiled.reserve(large, {}), Error);
  EXPECT_NO_THROW(compiled.reserve(fits, fits));
}

}  // namespace
}  // namespace epitaxy::test
