// Conversions give the reference's bits on every device; reshape is a view.
#include "epitaxy/ops/cast.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/cases/cast.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(Cast, HandValues) {
  const Tensor x = values(DType::fp32, {5}, {1.0009765625, 257, 70000, -1e-8, 3});
  EXPECT_TRUE(same(run_on({}, *cast(DType::bf16), {x}, true)[0], values(DType::bf16, {5}, {1, 256, 70144, -1.0012e-8, 3})));
  EXPECT_TRUE(same(run_on({}, *cast(DType::fp16), {x}, true)[0],
                   values(DType::fp16, {5}, {1.0009765625, 257, std::numeric_limits<double>::infinity(), -0.0, 3})));
}

TEST(Cast, Gradient) { check_gradient(cast(DType::fp32), {make({DType::fp32, {7}}, Fill::normal(), 1)}, {0}); }

TEST(Cast, DevicesGiveTheReferencesBits) {
  for (const DType from : kCastTypes)
    for (const DType to : kCastTypes)
      for (const std::int64_t size : kCastSizes) {
        SCOPED_TRACE(text(name(from), " to ", name(to), " ", size));
        const Tensor x = make({from, {size}}, Fill::normal(0, 100), 1);
        const auto operation = cast(to);
        check_devices(*operation, {x});
        for (const Device device : devices())
          if (why_absent(device).empty()) {
            EXPECT_TRUE(same(run_on(device, *operation, {x})[0], run_on({}, *operation, {x}, true)[0])) << name(device);
          }
      }
}

/// All 65536 patterns through fp32 and back.
TEST(Cast, EverySixteenBitPattern) {
  for (const DType dtype : {DType::bf16, DType::fp16}) {
    Tensor all(cpu_backend(), {dtype, {65536}});
    for (std::uint32_t i = 0; i < 65536; ++i) {
      const auto bits = static_cast<std::uint16_t>(i);
      std::memcpy(static_cast<std::byte*>(all.data()) + 2 * i, &bits, 2);
    }
    for (const Device device : devices()) {
      if (!why_absent(device).empty()) continue;
      const auto wide = run_on(device, *cast(DType::fp32), {all});
      const auto back = numbers(run_on(device, *cast(dtype), wide)[0]), want = numbers(all);
      for (std::size_t i = 0; i < want.size(); ++i)
        ASSERT_TRUE(back[i] == want[i] || (std::isnan(back[i]) && std::isnan(want[i])))
            << name(device) << " " << name(dtype) << " pattern " << i;
    }
  }
}

TEST(Cast, Rejects) {
  EXPECT_THROW(cast(DType::int32), Error);
  EXPECT_THROW(cast(DType::fp32)->outputs(std::vector<TensorSpec>{{DType::uint8, {2}}}), Error);
}

TEST(Reshape, IsAViewOfTheSameValues) {
  const auto operation = reshape({2, 3});
  EXPECT_TRUE(operation->is_view());
  const Tensor x = make({DType::bf16, {4, 6}}, Fill::normal(), 1);
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    EXPECT_TRUE(same(run_on(device, *operation, {x})[0], x.reshape({4, 2, 3}))) << name(device);
  }
}

TEST(Reshape, Gradient) { check_gradient(reshape({6}), {make({DType::fp32, {2, 2, 3}}, Fill::normal(), 1)}, {0}); }

TEST(Reshape, Rejects) {
  EXPECT_THROW(reshape({5})->outputs(std::vector<TensorSpec>{{DType::fp32, {2, 6}}}), Error);
  EXPECT_THROW(reshape({1})->outputs(std::vector<TensorSpec>{{DType::fp32, {}}}), Error);
}

}  // namespace
}  // namespace epitaxy::test
