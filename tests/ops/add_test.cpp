// Sum of two tensors: one rounding, equal bits on every device.
#include "epitaxy/ops/add.h"

#include <limits>

#include "tests/cases/add.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(Add, HandValues) {
  const Tensor a = values(DType::bf16, {3}, {1, 256, -3}), b = values(DType::bf16, {3}, {0.5, 1, 3});
  EXPECT_TRUE(same(run_on({}, *add(), {a, b}, true)[0], values(DType::bf16, {3}, {1.5, 256, 0})));  // 257 lies between 256 and 258: to even
}

TEST(Add, Gradient) {
  check_gradient(add(), {make({DType::fp32, {2, 3}}, Fill::normal(), 1), make({DType::fp32, {2, 3}}, Fill::normal(), 2)}, {0, 1});
}

TEST(Add, DevicesGiveTheReferencesBits) {
  for (const DType dtype : kAddTypes)
    for (const std::int64_t size : kAddSizes) {
      SCOPED_TRACE(text(name(dtype), " ", size));
      const std::vector<Tensor> inputs{make({dtype, {size}}, Fill::normal(), 1), make({dtype, {size}}, Fill::normal(0, 3), 2)};
      check_devices(*add(), inputs);
      for (const Device device : devices())
        if (why_absent(device).empty()) {
          EXPECT_TRUE(same(run_on(device, *add(), inputs)[0], run_on({}, *add(), inputs, true)[0])) << name(device);
        }
    }
}

TEST(Add, UnalignedSlices) {
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    const Context context = make_context(device);
    const Tensor a = make({DType::bf16, {3, 37}}, Fill::normal(), 1), b = make({DType::bf16, {3, 37}}, Fill::normal(), 2);
    const Tensor got =
        run(*add(), {copy_to(*context.backend, a, cpu_backend()).slice(1, 2), copy_to(*context.backend, b, cpu_backend()).slice(1, 2)},
            context)[0];
    const Tensor want = run_on({}, *add(), {a.slice(1, 2), b.slice(1, 2)}, true)[0];
    EXPECT_TRUE(same(copy_to(cpu_backend(), got, *context.backend), want)) << name(device);
  }
}

TEST(Add, Extremes) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const DType dtype : kAddTypes)
    check_devices(*add(), {values(dtype, {6}, {inf, -inf, inf, nan, 65504, 1}), values(dtype, {6}, {1, -1, -inf, 2, 65504, 2})}, false,
                  true);
}

TEST(Add, Rejects) {
  const auto specs = [](TensorSpec a, TensorSpec b) { return add()->outputs(std::vector<TensorSpec>{a, b}); };
  EXPECT_THROW(specs({DType::fp32, {2}}, {DType::fp32, {3}}), Error);
  EXPECT_THROW(specs({DType::fp32, {2}}, {DType::bf16, {2}}), Error);
  EXPECT_THROW(specs({DType::int32, {2}}, {DType::int32, {2}}), Error);
  EXPECT_THROW(add()->outputs(std::vector<TensorSpec>{{DType::fp32, {2}}}), Error);
}

}  // namespace
}  // namespace epitaxy::test
