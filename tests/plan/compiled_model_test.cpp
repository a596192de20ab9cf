// Compiled models: determinism, no allocation after the first step, tail batches, saving and resuming, memory.
#include "epitaxy/plan/compiled_model.h"

#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <fstream>

#include "tests/support/compare.h"

namespace {
int allocations = 0;  // of device memory on the CPU, and of the libraries' scratch
}
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EPITAXY_COUNT_ALLOCATIONS 1
/// Stands in for the C library's, which CpuBackend and oneDNN call.
extern "C" int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  ++allocations;
  *memory = memalign(alignment, bytes);
  return *memory ? 0 : ENOMEM;
}
#endif

namespace epitaxy::test {
namespace {

Model small_model() {
  return sequential({12, 12, 1}, {conv3x3(8, 1, false), layers::BatchNorm{}, layers::Activate{}, layers::MaxPool2d{}, layers::Flatten{},
                                  layers::Dense{16, Activation::relu}, layers::Dropout{0.25f}, layers::Dense{3}});
}

CompileOptions small_options(Device device, Precision precision = Precision::fp32) {
  CompileOptions options;
  options.device = device;
  options.precision = precision;
  options.input_dtype = DType::uint16;
  options.mean = {30000};
  options.scale = {1e-4f};
  options.seed = 9;
  return options;
}

struct Batch {
  Tensor inputs, targets;
};
Batch batch_of(std::int64_t count, std::uint64_t seed) {
  return {make({DType::uint16, {count, 12, 12, 1}}, Fill::uniform(0, 65535), seed),
          make({DType::int32, {count}}, Fill::integers(0, 2), seed + 1)};
}

void train(CompiledModel& model, int first, int last) {
  for (int step = first; step < last; ++step) {
    const Batch batch = batch_of(step % 3 == 2 ? 5 : 8, 100 + step);  // a tail batch every third step
    model.train_step(batch.inputs, batch.targets, 1e-2f);
  }
}

class CompiledModelOn : public ::testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    if (const std::string why = why_absent(GetParam()); !why.empty()) {
      skip_device(GetParam(), why);
      GTEST_SKIP() << why;
    }
  }
};

void expect_same_weights(const CompiledModel& a, const CompiledModel& b) {
  const auto wa = a.weights(), wb = b.weights();
  ASSERT_EQ(wa.size(), wb.size());
  for (std::size_t i = 0; i < wa.size(); ++i) EXPECT_TRUE(same(wa[i].tensor, wb[i].tensor)) << wa[i].name;
}

TEST_P(CompiledModelOn, TwoRunsAreBitwiseEqual) {
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp16}) {
    CompiledModel a(small_model(), small_options(GetParam(), precision)), b(small_model(), small_options(GetParam(), precision));
    train(a, 0, 7);
    train(b, 0, 7);
    expect_same_weights(a, b);
    const auto ma = a.take_metrics(), mb = b.take_metrics();
    ASSERT_EQ(ma.size(), 7u);
    for (std::size_t i = 0; i < 7; ++i) EXPECT_EQ(ma[i].loss, mb[i].loss);
  }
}

TEST_P(CompiledModelOn, ResumesExactly) {
  CompiledModel straight(small_model(), small_options(GetParam())), first(small_model(), small_options(GetParam()));
  train(straight, 0, 8);
  train(first, 0, 4);
  CompileOptions other = small_options(GetParam());
  CompiledModel second(small_model(), other);
  second.set_weights(first.weights());
  second.set_optimizer_state(first.optimizer_state());
  EXPECT_EQ(second.step(), 4);
  train(second, 4, 8);
  expect_same_weights(straight, second);
}

TEST_P(CompiledModelOn, LearnsOneBatchByHeart) {
  CompiledModel model(small_model(), small_options(GetParam()));
  const Batch batch = batch_of(8, 1);
  for (int step = 0; step < 40; ++step) model.train_step(batch.inputs, batch.targets, 1e-2f);
  const auto metrics = model.take_metrics();
  EXPECT_GT(metrics.front().loss, 0.5f);
  EXPECT_LT(metrics.back().loss, 0.2f);
  EXPECT_EQ(metrics.back().metric, 1.0f);
  const auto logits = numbers(model.predict(batch.inputs));
  EXPECT_EQ(logits.size(), 24u);
}

TEST_P(CompiledModelOn, TheMetricRingWraps) {
  CompiledModel model(sequential({2}, {layers::Dense{1}}), [&] {
    CompileOptions options;
    options.device = GetParam();
    options.loss = LossKind::mean_squared_error;
    return options;
  }());
  const Tensor x = values(DType::fp32, {1, 2}, {1, 1}), t = values(DType::fp32, {1, 1}, {3});
  for (int step = 0; step < 600; ++step) model.train_step(x, t, 1e-2f);
  const auto metrics = model.take_metrics();
  ASSERT_EQ(metrics.size(), 600u);
  EXPECT_LT(metrics[599].loss, metrics[0].loss);
  EXPECT_NEAR(metrics[5].loss, metrics[5].metric * metrics[5].metric, 1e-5);  // one item: squared against absolute error
  EXPECT_TRUE(model.take_metrics().empty());
}

std::string device_name(const ::testing::TestParamInfo<Device>& one) {
  return one.param.kind == DeviceKind::cuda ? "cuda" : name(one.param);
}

INSTANTIATE_TEST_SUITE_P(Devices, CompiledModelOn, ::testing::ValuesIn(devices()), device_name);

TEST(CompiledModel, AllocatesNothingAfterTheFirstSteps) {
  CompiledModel model(small_model(), small_options({}));
  const std::int64_t sizes[] = {8, 5};
  model.reserve(sizes, sizes);
  std::vector<Batch> batches{batch_of(8, 1), batch_of(5, 2)};
  for (const Batch& batch : batches) model.train_step(batch.inputs, batch.targets, 1e-2f);
  const std::size_t planned = model.memory().total();
  [[maybe_unused]] const int before = allocations;
  for (int step = 0; step < 6; ++step) model.train_step(batches[step % 2].inputs, batches[step % 2].targets, 1e-2f);
  EXPECT_EQ(model.memory().total(), planned);
#if defined(EPITAXY_COUNT_ALLOCATIONS)
  EXPECT_EQ(allocations, before);
  model.predict(batches[0].inputs);  // its result is new memory: the count counts
  EXPECT_GT(allocations, before);
#endif
}

TEST(CompiledModel, RefusesWhatDoesNotFit) {
  CompiledModel model(small_model(), small_options({}));
  const Batch batch = batch_of(8, 1);
  EXPECT_THROW(model.train_step(make({DType::uint8, {8, 12, 12, 1}}, Fill::uniform(0, 255), 1), batch.targets, 0.1f), Error);
  EXPECT_THROW(model.train_step(batch.inputs, values(DType::int32, {7}, {0, 0, 0, 0, 0, 0, 0}), 0.1f), Error);
  auto weights = model.weights();
  weights.pop_back();
  EXPECT_THROW(model.set_weights(weights), Error);
  try {
    const std::int64_t absurd[] = {std::int64_t{1} << 28};
    model.reserve(absurd, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("not enough memory"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("--batch"), std::string::npos);
  }
  model.train_step(batch.inputs, batch.targets, 0.1f);  // still usable
}

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

TEST(CompiledModel, PlannedMemoryIsWhatTheProcessTakes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep memory of their own";
#endif
  CompileOptions options;
  options.input_dtype = DType::uint8;
  options.mean = {120};
  options.scale = {0.01f};
  const Model model = resnet18({64, 64, 1}, 10);
  const Tensor images = make({DType::uint8, {32, 64, 64, 1}}, Fill::uniform(0, 255), 1),
               targets = make({DType::int32, {32}}, Fill::integers(0, 9), 2);
  const std::size_t foretold = plan_memory(model, options, 32).total();
  const std::size_t before = resident_bytes();
  CompiledModel compiled(model, options);
  for (int step = 0; step < 2; ++step) compiled.train_step(images, targets, 1e-3f);
  const double growth = static_cast<double>(resident_bytes() - before);
  const double planned = static_cast<double>(compiled.memory().total() + fixed_overhead({}));
  EXPECT_EQ(compiled.memory().total(), foretold);
  RecordProperty("growth_mib", std::to_string(growth / 1048576));
  std::printf("planned %.1f MiB with overhead %.1f MiB, growth %.1f MiB\n", planned / 1048576,
              static_cast<double>(fixed_overhead({})) / 1048576, growth / 1048576);
  EXPECT_NEAR(growth / planned, 1.0, 0.05);
}

}  // namespace
}  // namespace epitaxy::test
