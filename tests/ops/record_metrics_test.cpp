// The metric ring: rows wrap around, other rows stay.
#include "epitaxy/ops/record_metrics.h"

#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(RecordMetrics, WritesTheRowOfTheStep) {
  const Tensor ring = values(DType::fp32, {3, 2}, {1, 2, 3, 4, 5, 6});
  for (const double step : {1.0, 4.0, 3000000000001.0}) {
    const std::vector<Tensor> inputs{ring, values(DType::int64, {1}, {step}), values(DType::fp32, {1}, {0.5}),
                                     values(DType::fp32, {1}, {0.25})};
    const int row = static_cast<int>(static_cast<std::int64_t>(step) % 3);
    std::vector<double> want{1, 2, 3, 4, 5, 6};
    want[row * 2] = 0.5, want[row * 2 + 1] = 0.25;
    EXPECT_TRUE(same(run(*record_metrics(), inputs, {&cpu_backend(), {}, true})[0], values(DType::fp32, {3, 2}, want)));
    check_devices(*record_metrics(), inputs);
  }
}

TEST(RecordMetrics, RejectsAnotherShape) {
  EXPECT_THROW(
      record_metrics()->outputs(std::vector<TensorSpec>{{DType::fp32, {6}}, {DType::int64, {1}}, {DType::fp32, {1}}, {DType::fp32, {1}}}),
      Error);
}

}  // namespace
}  // namespace epitaxy::test
