// Choosing implementations by time: the fastest is chosen, found again from text, and fixed in a graph; results do not depend on it.
#include "epitaxy/plan/tuning.h"

#include "epitaxy/ops/conv2d.h"
#include "epitaxy/plan/compiled_model.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

/// y = x * factor / factor, in a way that counts its runs.
class Counted final : public Operation {
 public:
  explicit Counted(int way, int* runs) : way_(way), runs_(runs) {}
  std::string name() const override { return "counted"; }
  std::string variant() const override { return way_ < 0 ? "" : "way " + std::to_string(way_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override { return {inputs[0]}; }
  std::vector<OperationPtr> candidates(std::span<const TensorSpec>, const Context&) const override {
    std::vector<OperationPtr> ways;
    for (int way = 0; way < 3; ++way) ways.push_back(std::make_shared<Counted>(way, runs_));
    return ways;
  }
  std::size_t workspace_bytes(std::span<const TensorSpec>, const Context&, const Prepared*) const override { return 16; }
  void run(const Call& call) const override {
    EXPECT_EQ(call.workspace.bytes(), 16u);
    ++runs_[way_];
  }

 private:
  int way_;
  int* runs_;
};

struct Timed {
  Graph graph;
  int runs[3] = {};
  Timed() {
    const ValueId x = graph.add_value("x", {DType::fp32, {2, 3}}, Role::input);
    const OperationPtr operation = std::make_shared<Counted>(-1, runs);
    graph.add(operation, graph.add(operation, {x}));  // one problem, twice
  }
  /// Calls each candidate once and says it took so long.
  Stopwatch stopwatch(std::vector<double> seconds) {
    return [seconds, next = std::size_t{0}](const Context&, const std::function<void()>& run) mutable {
      run();
      return seconds[next++];
    };
  }
};

const Context kCpu = make_context({});

TEST(Tuning, ChoosesTheFastestOnce) {
  Timed timed;
  Tuning tuning;
  EXPECT_EQ(tune(timed.graph, tuning, kCpu, timed.stopwatch({3, 1, 2})), 1);
  EXPECT_EQ(tuning.size(), 1u);
  EXPECT_EQ(std::vector<int>(timed.runs, timed.runs + 3), (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(tune(timed.graph, tuning, kCpu, timed.stopwatch({})), 0);  // known
  apply(tuning, timed.graph, kCpu);
  for (const Node& node : timed.graph.nodes()) EXPECT_EQ(node.operation->variant(), "way 1");
}

TEST(Tuning, TheDefaultWinsWhereItIsNearlyAsFast) {
  Timed timed;
  Tuning tuning;
  tune(timed.graph, tuning, kCpu, timed.stopwatch({1, 0.98, 2}));
  apply(tuning, timed.graph, kCpu);
  EXPECT_EQ(timed.graph.nodes()[0].operation->variant(), "way 0");
}

TEST(Tuning, TheRealClockRunsEveryCandidate) {
  Timed timed;
  Tuning tuning;
  EXPECT_EQ(tune(timed.graph, tuning, kCpu), 1);
  for (const int runs : timed.runs) EXPECT_GE(runs, 5);
}

TEST(Tuning, SurvivesText) {
  Timed timed;
  Tuning tuning;
  tune(timed.graph, tuning, kCpu, timed.stopwatch({3, 2, 1}));
  const Tuning read = Tuning::from_json(tuning.to_json());
  EXPECT_EQ(read, tuning);
  EXPECT_EQ(read.find(tuning_problem(*timed.graph.nodes()[0].operation, std::vector<TensorSpec>{{DType::fp32, {2, 3}}}, kCpu)), "way 2");
  Tuning other;
  other.set("another", "way 0");
  other.merge(read);
  EXPECT_EQ(other.size(), 2u);
  EXPECT_THROW(Tuning::from_json("[1]"), Error);
  EXPECT_THROW(Tuning::from_json("{"), Error);
}

TEST(Tuning, AnUnknownVariantIsIgnored) {
  Timed timed;
  Tuning tuning;
  tuning.set(tuning_problem(*timed.graph.nodes()[0].operation, std::vector<TensorSpec>{{DType::fp32, {2, 3}}}, kCpu), "way 9");
  apply(tuning, timed.graph, kCpu);
  EXPECT_EQ(timed.graph.nodes()[0].operation->variant(), "");
}

/// The emulated device's convolutions have several plans; fixing another one changes no more than roundings.
TEST(Tuning, ConvolutionsHaveCandidates) {
  const Device device = parse_device("emulated");
  if (const std::string why = why_absent(device); !why.empty()) {
    skip_device(device, why);
    GTEST_SKIP() << why;
  }
  const Context context = make_context(device);
  Conv2dOptions options;
  options.padding = {1, 1, 1, 1};
  const std::vector<Tensor> inputs{make({DType::bf16, {2, 9, 9, 64}}, Fill::normal(), 1),
                                   make({DType::bf16, {64, 3, 3, 64}}, Fill::normal(), 2)};
  Graph graph;
  std::vector<ValueId> ids;
  for (const auto& input : inputs) ids.push_back(graph.add_value("in", input.spec(), Role::input));
  graph.add(conv2d(options), ids);
  const auto specs = graph.specs(ids);
  const auto candidates = graph.nodes()[0].operation->candidates(specs, context);
  ASSERT_GE(candidates.size(), 3u);
  for (const auto& candidate : candidates) {
    SCOPED_TRACE(candidate->variant());
    Tuning tuning;
    tuning.set(tuning_problem(*graph.nodes()[0].operation, specs, context), candidate->variant());
    apply(tuning, graph, context);
    EXPECT_EQ(graph.nodes()[0].operation->variant(), candidate->variant());
    EXPECT_TRUE(meets_tolerance(*candidate, inputs, run_on(device, *graph.nodes()[0].operation, inputs)));
  }
}

/// A model compiled with another's choices repeats its steps bit for bit, and plans the same memory.
TEST(Tuning, ACompiledModelRepeatsItsChoices) {
  const Device device = parse_device("emulated");
  if (const std::string why = why_absent(device); !why.empty()) {
    skip_device(device, why);
    GTEST_SKIP() << why;
  }
  CompileOptions options;
  options.device = device;
  options.precision = Precision::bf16;
  const Model model = sequential({6, 6, 8}, {conv3x3(16), layers::Activate{}, layers::Flatten{}, layers::Dense{3}});
  EXPECT_THROW(CompiledModel(model,
                             [&] {
                               auto o = options;
                               o.tune = true;
                               return o;
                             }()),
               Error);
  options.tuning = std::make_shared<Tuning>();
  options.tune = true;
  const Tensor images = make({DType::fp32, {2, 6, 6, 8}}, Fill::normal(), 1), targets = values(DType::int32, {2}, {0, 2});
  CompiledModel first(model, options);
  first.train_step(images, targets, 1e-2f);
  EXPECT_GE(options.tuning->size(), 2u);  // forward, filter gradient
  options.tuning = std::make_shared<Tuning>(Tuning::from_json(options.tuning->to_json()));
  options.tune = false;
  CompiledModel second(model, options);
  second.train_step(images, targets, 1e-2f);
  const auto a = first.weights(), b = second.weights();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(same(a[i].tensor, b[i].tensor)) << a[i].name;
  EXPECT_EQ(first.memory().total(), second.memory().total());
  EXPECT_EQ(second.memory().total(), plan_memory(model, options, 2).total());
}

}  // namespace
}  // namespace epitaxy::test
