// Weights and weighted sums over the steps of sequences: hand-computed values, finite differences, every device.
#include "tests/cases/sequence_pool.h"

#include <cmath>
#include <limits>

#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

Tensor some_lengths(std::int64_t batch, std::int64_t steps) {
  Tensor lengths(cpu_backend(), {DType::int32, {batch}});
  for (std::int64_t n = 0; n < batch; ++n) lengths.as<std::int32_t>()[n] = static_cast<std::int32_t>(1 + (n * 7 + steps - 1) % steps);
  return lengths;
}

TEST(SequencePool, HandValues) {
  const Tensor lengths = values(DType::int32, {3}, {1, 3, 2});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(close(run_on({}, *sequence_weights(3, false), {lengths}, true)[0],
                    values(DType::fp32, {3, 3}, {1, 0, 0, 1.0 / 3, 1.0 / 3, 1.0 / 3, 0.5, 0.5, 0}), 1e-7));
  // Scores of log 1, log 2, log 5; what lies beyond a length is not read.
  const Tensor scores = values(DType::fp32, {3, 3}, {7, nan, nan, 0, std::log(2.0), std::log(5.0), std::log(3.0), 0, nan});
  const Tensor weights = values(DType::fp32, {3, 3}, {1, 0, 0, 0.125, 0.25, 0.625, 0.75, 0.25, 0});
  EXPECT_TRUE(close(run_on({}, *sequence_weights(3, true), {lengths, scores}, true)[0], weights, 1e-7));
  const Tensor x = values(DType::fp32, {3, 3, 2}, {1, 2, 3, 4, 5, 6, 8, 16, 4, 8, 8, 0, 4, 0, 8, 4, 9, 9});
  EXPECT_TRUE(close(run_on({}, *weighted_sum(), {x, weights}, true)[0], values(DType::fp32, {3, 2}, {1, 2, 7, 4, 5, 1}), 1e-6));
  const Tensor dy = values(DType::fp32, {3, 2}, {1, 2, 8, 0, 0, 4});
  const auto gradients = run_on({}, *weighted_sum_gradient(), {x, weights, dy}, true);
  EXPECT_TRUE(close(gradients[0], values(DType::fp32, {3, 3, 2}, {1, 2, 0, 0, 0, 0, 1, 0, 2, 0, 5, 0, 0, 3, 0, 1, 0, 0}), 1e-6));
  EXPECT_TRUE(close(gradients[1], values(DType::fp32, {3, 3}, {5, 11, 17, 64, 32, 64, 0, 16, 36}), 1e-6));
}

TEST(SequencePool, LengthsOutsideAreTakenToTheBounds) {
  const Tensor lengths = values(DType::int32, {2}, {-3, 9});
  for (const Device device : devices())
    if (why_absent(device).empty()) {
      EXPECT_TRUE(close(run_on(device, *sequence_weights(2, false), {lengths})[0], values(DType::fp32, {2, 2}, {1, 0, 0.5, 0.5}), 1e-7));
    }
}

TEST(SequencePool, Gradient) {
  const Tensor x = make({DType::fp32, {3, 4, 5}}, Fill::normal(), 1), w = make({DType::fp32, {3, 4}}, Fill::normal(), 2);
  check_gradient(weighted_sum(), {x, w}, {0, 1});
  check_gradient(sequence_weights(4, true), {some_lengths(3, 4), w}, {1}, 0, 1e-2, 1e-3);
}

TEST(SequencePool, Devices) {
  for (const Shape& shape : kSequenceShapes) {
    const std::int64_t n = shape[0], t = shape[1], c = shape[2];
    const Tensor lengths = some_lengths(n, t), scores = make({DType::fp32, {n, t}}, Fill::normal(0, 3), 1);
    SCOPED_TRACE(text(shape));
    check_devices(*sequence_weights(t, false), {lengths});
    check_devices(*sequence_weights(t, true), {lengths, scores});
    const Tensor weights = run_on({}, *sequence_weights(t, true), {lengths, scores}, true)[0];
    for (const DType dtype : {DType::fp32, DType::bf16, DType::fp16}) {
      SCOPED_TRACE(name(dtype));
      const Tensor x = make({dtype, shape}, Fill::normal(), 2), dy = make({dtype, {n, c}}, Fill::normal(), 3);
      check_devices(*weighted_sum(), {x, weights});
      check_devices(*weighted_sum_gradient(), {x, weights, dy});
    }
  }
}

TEST(SequencePool, Rejects) {
  const auto outputs = [](const OperationPtr& operation, std::vector<TensorSpec> inputs) { return operation->outputs(inputs); };
  const TensorSpec lengths{DType::int32, {3}}, scores{DType::fp32, {3, 4}}, x{DType::bf16, {3, 4, 5}};
  EXPECT_THROW(sequence_weights(0, false), Error);
  EXPECT_THROW(outputs(sequence_weights(4, false), {{DType::fp32, {3}}}), Error);
  EXPECT_THROW(outputs(sequence_weights(4, true), {lengths, {DType::bf16, {3, 4}}}), Error);
  EXPECT_THROW(outputs(sequence_weights(5, true), {lengths, scores}), Error);
  EXPECT_EQ(outputs(weighted_sum(), {x, scores})[0], (TensorSpec{DType::bf16, {3, 5}}));
  EXPECT_THROW(outputs(weighted_sum(), {x, {DType::fp32, {3, 5}}}), Error);
  EXPECT_THROW(outputs(weighted_sum(), {{DType::fp32, {3, 5}}, scores}), Error);
  EXPECT_THROW(outputs(weighted_sum_gradient(), {x, scores, {DType::fp32, {3, 5}}}), Error);
}

}  // namespace
}  // namespace epitaxy::test
