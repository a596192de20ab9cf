// Activations: hand-computed values, finite differences, every device against the reference.
#include "tests/cases/activation.h"

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
    check_devices(*activation(kind), {values(DType::fp32, {6}, {-big, big, -inf, inf, nan, -0.0})}, false, true);
}

TEST(Activation, RejectsIntegers) { EXPECT_THROW(activation(Activation::relu)->outputs(std::vector<TensorSpec>{{DType::int32, {2}}}), Error); }

}  // namespace
}  // namespace epitaxy::test
