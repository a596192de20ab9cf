// Concatenation: hand values, gradient, every device.
#include "epitaxy/ops/concat.h"

#include "tests/cases/concat.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(Concat, HandValues) {
  const Tensor a = values(DType::fp32, {2, 1, 2}, {1, 2, 3, 4}), b = values(DType::fp32, {2, 1, 1}, {5, 6});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    SCOPED_TRACE(name(device));
    EXPECT_TRUE(same(run_on(device, *concat(), {a, b})[0], values(DType::fp32, {2, 1, 3}, {1, 2, 5, 3, 4, 6})));
    const auto split = run_on(device, *concat_gradient(2), {values(DType::fp32, {2, 1, 3}, {1, 2, 5, 3, 4, 6})});
    EXPECT_TRUE(same(split[0], a) && same(split[1], b));
  }
}

TEST(Concat, Gradient) {
  const Tensor a = make({DType::fp32, {2, 3, 2}}, Fill::normal(), 1), b = make({DType::fp32, {2, 3, 4}}, Fill::normal(), 2);
  check_gradient(concat(), {a, b}, {0, 1});
  check_gradient(concat(), {a, b}, {1});
}

TEST(Concat, Devices) {
  for (const DType dtype : {DType::fp32, DType::bf16, DType::fp16})
    for (const ConcatCase& c : kConcatCases) {
      SCOPED_TRACE(text(name(dtype), " ", c.rows, " x ", c.first, " + ", c.second));
      const Tensor a = make({dtype, {c.rows, c.first}}, Fill::normal(), 1), b = make({dtype, {c.rows, c.second}}, Fill::normal(), 2);
      check_devices(*concat(), {a, b});
      check_devices(*concat_gradient(c.first), {make({dtype, {c.rows, c.first + c.second}}, Fill::normal(), 3)});
    }
}

TEST(Concat, Rejects) {
  const TensorSpec a{DType::fp32, {2, 3, 4}};
  EXPECT_THROW(concat()->outputs(std::vector<TensorSpec>{a}), Error);
  EXPECT_THROW(concat()->outputs(std::vector<TensorSpec>{a, {DType::bf16, {2, 3, 4}}}), Error);
  EXPECT_THROW(concat()->outputs(std::vector<TensorSpec>{a, {DType::fp32, {2, 4, 4}}}), Error);
  EXPECT_THROW(concat()->outputs(std::vector<TensorSpec>{a, {DType::fp32, {3, 4}}}), Error);
  EXPECT_THROW(concat_gradient(0), Error);
  EXPECT_THROW(concat_gradient(4)->outputs(std::vector<TensorSpec>{a}), Error);
}

}  // namespace
}  // namespace epitaxy::test
