// The comparator itself: each fault it exists to catch is planted in a small operation and must be reported.
#include "tests/support/compare.h"

#include <gtest/gtest-spi.h>

#include <cmath>
#include <limits>

namespace epitaxy::test {
namespace {

enum class Fault {
  none,
  nan,
  skips_last,
  writes_before,
  writes_after,
  writes_past_workspace,
  nondeterministic,
  breaks_in_place,
  wrong_value,
  wrong_gradient,
  no_gradient
};

/// y = 2 x on the CPU, with one fault. The reference (context.reference) is right.
class Doubling final : public Operation {
 public:
  explicit Doubling(Fault fault) : fault_(fault) {}
  std::string name() const override { return "doubling"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override { return {inputs[0]}; }
  std::size_t workspace_bytes(std::span<const TensorSpec>, const Context&, const Prepared*) const override { return 8; }
  int in_place(int) const override { return fault_ == Fault::skips_last ? -1 : 0; }
  void run(const Call& call) const override {
    const float* x = call.inputs[0].as<float>();
    float* y = call.outputs[0].as<float>();
    const std::int64_t count = call.inputs[0].count();
    if (call.context.reference) {
      for (std::int64_t i = 0; i < count; ++i) y[i] = 2 * x[i];
      return;
    }
    for (std::int64_t i = 0; i < count - (fault_ == Fault::skips_last); ++i)
      y[i] = 2 * x[i] + (fault_ == Fault::breaks_in_place && i > 0 ? 1e-3f * x[i - 1] : 0.0f);
    if (fault_ == Fault::nan) y[count / 2] = std::numeric_limits<float>::quiet_NaN();
    if (fault_ == Fault::writes_before) y[-1] = 0;
    if (fault_ == Fault::writes_after) y[count] = 0;
    if (fault_ == Fault::writes_past_workspace) static_cast<std::byte*>(call.workspace.data())[8] = std::byte{0};
    if (fault_ == Fault::nondeterministic) y[0] += 1e-6f * static_cast<float>(runs_++);
    if (fault_ == Fault::wrong_value) y[count - 1] *= 1.001f;
  }
  void differentiate(GradientBuilder& builder) const override {
    if (fault_ == Fault::no_gradient) return;
    builder.set(0, fault_ == Fault::wrong_gradient ? builder.gradient(0)
                                                   : builder.emit(std::make_shared<Doubling>(Fault::none), {builder.gradient(0)})[0]);
  }

 private:
  Fault fault_;
  mutable int runs_ = 0;
};

const Device kCpu{};

Tensor some() { return values(DType::fp32, {5}, {1, -2, 3, 0.5, 4}); }

/// Runs and compares on the CPU alone.
void check(Fault fault) {
  const Doubling operation(fault);
  EXPECT_TRUE(meets_tolerance(operation, {some()}, run_on(kCpu, operation, {some()})));
}

void check_gradient_of(Fault fault) { check_gradient(std::make_shared<Doubling>(fault), {some()}, {0}); }
void check_wrong_gradient() { check_gradient_of(Fault::wrong_gradient); }
void check_no_gradient() { check_gradient_of(Fault::no_gradient); }

TEST(Compare, AcceptsARightOperation) {
  check(Fault::none);
  check_gradient_of(Fault::none);
}

TEST(Compare, NanNeverPasses) {
  EXPECT_NONFATAL_FAILURE(check(Fault::nan), "is nan, expected 6");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor bad = values(DType::fp32, {2}, {1, nan}), good = values(DType::fp32, {2}, {1, 1});
  EXPECT_FALSE(close(bad, good, 1e30));
  EXPECT_FALSE(close(good, bad, 1e30));
  EXPECT_FALSE(close(bad, bad, 1e30));
}

TEST(Compare, ANanInTheReferenceIsRefusedUnlessAllowed) {
  const Tensor x = values(DType::fp32, {2}, {1, std::numeric_limits<double>::quiet_NaN()});
  const Doubling operation(Fault::none);
  const auto got = run_on(kCpu, operation, {x});
  EXPECT_FALSE(meets_tolerance(operation, {x}, got));
  EXPECT_TRUE(meets_tolerance(operation, {x}, got, false, true));
  EXPECT_FALSE(meets_tolerance(operation, {x}, {values(DType::fp32, {2}, {2, 7})}, false, true));  // a number where NaN belongs
}

TEST(Compare, InfinitiesMustMatchInSign) {
  const double inf = std::numeric_limits<double>::infinity();
  const Tensor plus = values(DType::fp32, {1}, {inf}), minus = values(DType::fp32, {1}, {-inf});
  EXPECT_TRUE(close(plus, plus, 0));
  EXPECT_FALSE(close(minus, plus, 0));
  const Doubling operation(Fault::none);
  EXPECT_FALSE(meets_tolerance(operation, {values(DType::fp32, {2}, {inf, 1})}, {values(DType::fp32, {2}, {1, 2})}));
}

TEST(Compare, AnAllZeroReferenceIsVacuous) {
  const Tensor zero = values(DType::fp32, {2}, {0, 0});
  const Doubling operation(Fault::none);
  EXPECT_FALSE(meets_tolerance(operation, {zero}, run_on(kCpu, operation, {zero})));
  EXPECT_TRUE(meets_tolerance(operation, {zero}, run_on(kCpu, operation, {zero}), true));
}

TEST(Compare, AnElementNeverWrittenIsNan) { EXPECT_NONFATAL_FAILURE(check(Fault::skips_last), "element 4 of fp32 [5] is -nan"); }
TEST(Compare, AWrongValueIsCaught) { EXPECT_NONFATAL_FAILURE(check(Fault::wrong_value), "element 4 of fp32 [5] is 8.008"); }

TEST(Compare, WritesOutsideAreCaught) {
  for (const Fault fault : {Fault::writes_before, Fault::writes_after, Fault::writes_past_workspace}) {
    ::testing::TestPartResultArray failures;
    {
      const ::testing::ScopedFakeTestPartResultReporter reporter(::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD,
                                                                 &failures);
      run_on(kCpu, Doubling(fault), {some()});
    }
    ASSERT_EQ(failures.size(), 3);  // once in each of the three runs
    for (int i = 0; i < 3; ++i)
      EXPECT_NE(std::string(failures.GetTestPartResult(i).message())
                    .find(fault == Fault::writes_past_workspace ? "wrote outside its workspace" : "wrote outside output 0"),
                std::string::npos);
  }
}

TEST(Compare, DifferentBitsOnTheSecondRunAreCaught) {
  ::testing::TestPartResultArray failures;
  {
    const ::testing::ScopedFakeTestPartResultReporter reporter(::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD,
                                                               &failures);
    run_on(kCpu, Doubling(Fault::nondeterministic), {some()});
  }
  ASSERT_GE(failures.size(), 1);
  EXPECT_NE(std::string(failures.GetTestPartResult(0).message()).find("differs between two runs"), std::string::npos);
}

TEST(Compare, ReadingWhatWasOverwrittenInPlaceIsCaught) {
  EXPECT_NONFATAL_FAILURE(run_on(kCpu, Doubling(Fault::breaks_in_place), {some()}), "differs when it is computed in place");
}

TEST(Compare, AWrongGradientIsCaught) {
  EXPECT_FATAL_FAILURE(check_wrong_gradient(), "gradient of input 0, element 0");
  EXPECT_FATAL_FAILURE(check_no_gradient(), "states no gradient for input 0");
}

TEST(Compare, ShapesAndTypesMustAgree) {
  const Tensor a = values(DType::fp32, {2}, {1, 2});
  EXPECT_FALSE(close(a, values(DType::fp32, {1, 2}, {1, 2}), 1));
  EXPECT_FALSE(same(a, values(DType::bf16, {2}, {1, 2})));
  EXPECT_FALSE(same(a, values(DType::fp32, {2}, {1, 2.0000002})));
  EXPECT_FALSE(same(values(DType::fp32, {1}, {0.0}), values(DType::fp32, {1}, {-0.0})));
  EXPECT_TRUE(same(a, values(DType::fp32, {2}, {1, 2})));
}

TEST(Compare, FillsAreSeededAndInRange) {
  const TensorSpec spec{DType::bf16, {1000}};
  EXPECT_TRUE(same(make(spec, Fill::normal(), 3), make(spec, Fill::normal(), 3)));
  EXPECT_FALSE(same(make(spec, Fill::normal(), 3), make(spec, Fill::normal(), 4)));
  bool low = false, high = false;
  for (const double v : numbers(make({DType::int32, {1000}}, Fill::integers(-2, 2), 1))) {
    EXPECT_TRUE(v >= -2 && v <= 2 && v == std::floor(v));
    low |= v == -2, high |= v == 2;
  }
  EXPECT_TRUE(low && high);
  for (const double v : numbers(make({DType::fp32, {1000}}, Fill::uniform(2, 3), 1))) EXPECT_TRUE(v >= 2 && v <= 3);
}

}  // namespace
}  // namespace epitaxy::test
