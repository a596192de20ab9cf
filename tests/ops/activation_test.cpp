// Activations: hand-computed values, finite differences, every device against the reference.
#include "tests/cases/activation.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(Activation, HandValues) {
  const Context reference{&cpu_backend(), {}, true};
  const Tensor x = values(DType::fp32, {4}, {-2, -0.5, 0, 3});
  const auto of = [&](Activation kind) { return run(*activation(kind, 0.25f), {x}, reference)[0]; };
  EXPECT_TRUE(close(of(Activation::relu), values(DType::fp32, {4}, {0, 0, 0, 3}), 0));
  EXPECT_TRUE(close(of(Activation::leaky_relu), values(DType::fp32, {4}, {-0.5, -0.125, 0, 3}), 0));
  EXPECT_TRUE(close(of(Activation::sigmoid), values(DType::fp32, {4}, {0.119202922, 0.377540669, 0.5, 0.952574127}), 1e-7));
  EXPECT_TRUE(close(of(Activation::tanh), values(DType::fp32, {4}, {-0.964027580, -0.462117157, 0, 0.995054754}), 1e-7));
  EXPECT_TRUE(close(of(Activation::gelu), values(DType::fp32, {4}, {-0.045500264, -0.154268770, 0, 2.995950306}), 1e-7));
}

TEST(Activation, Gradient) {
  for (const Activation kind : kActivations) {
    SCOPED_TRACE(name(kind));
    check_gradient(activation(kind), {values(DType::fp32, {5}, {-2, -0.7, 0.3, 1, 2.5})}, {0}, 0, 1e-2, 1e-4);
  }
}

TEST(Activation, Devices) {
  for (const Activation kind : kActivations)
    for (const DType dtype : kFloatTypes)
      for (const std::int64_t size : kActivationSizes) {
        SCOPED_TRACE(text(name(kind), " ", name(dtype), " ", size));
        const Tensor x = make({dtype, {size}}, Fill::normal(0.5, 2), 1), dy = make({dtype, {size}}, Fill::normal(), 2);
        check_devices(*activation(kind), {x}, size == 1);
        check_devices(*activation_gradient(kind), {x, dy}, size == 1);
      }
}

TEST(Activation, Extremes) {
  const double big = 60000, inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const Activation kind : kActivations)
    for (const DType dtype : kFloatTypes) {
      const Tensor x = values(dtype, {6}, {-big, big, -inf, inf, nan, -0.0});
      check_devices(*activation(kind), {x}, false, true);
      check_devices(*activation_gradient(kind), {x, make({dtype, {6}}, Fill::normal(), 1)}, false, true);
    }
}

/// All 65536 numbers of the 16-bit types, NaNs and infinities included. ReLU is exact.
TEST(Activation, EverySixteenBitPattern) {
  for (const DType dtype : {DType::bf16, DType::fp16}) {
    Tensor all(cpu_backend(), {dtype, {65536}});
    for (std::uint32_t i = 0; i < 65536; ++i) {
      const auto bits = static_cast<std::uint16_t>(i);
      std::memcpy(static_cast<std::byte*>(all.data()) + 2 * i, &bits, 2);
    }
    const Tensor dy = make({dtype, {65536}}, Fill::normal(), 1);
    for (const Activation kind : kActivations) {
      SCOPED_TRACE(text(name(kind), " ", name(dtype)));
      check_devices(*activation(kind), {all}, false, true);
    }
    for (const Device device : devices()) {
      if (!why_absent(device).empty()) continue;
      for (const auto& [operation, inputs] : {std::pair{activation(Activation::relu), std::vector{all}},
                                              std::pair{activation_gradient(Activation::relu), std::vector{all, dy}}}) {
        const auto got = numbers(run_on(device, *operation, inputs)[0]), want = numbers(run_on({}, *operation, inputs, true)[0]);
        for (std::size_t i = 0; i < want.size(); ++i)
          ASSERT_TRUE(got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i])))
              << operation->name() << " on " << name(device) << ", pattern " << i;
      }
    }
  }
}

TEST(Activation, RejectsIntegers) {
  EXPECT_THROW(activation(Activation::relu)->outputs(std::vector<TensorSpec>{{DType::int32, {2}}}), Error);
}

}  // namespace
}  // namespace epitaxy::test
