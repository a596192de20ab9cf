// Transposed convolution: hand values, gradients, every device.
#include "epitaxy/ops/conv_transpose2d.h"

#include "tests/cases/conv_transpose2d.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(ConvTranspose2d, HandValues) {
  const Tensor x = values(DType::fp32, {1, 1, 2, 2}, {1, 2, 3, 4});
  const Tensor w = values(DType::fp32, {2, 2, 2, 1}, {1, 10, 100, 1000, 0, 1, 0, 2});  // [c][r][s]
  const Tensor bias = values(DType::fp32, {1}, {0.5});
  const Tensor want = values(DType::fp32, {1, 2, 4, 1}, {1.5, 12.5, 3.5, 34.5, 100.5, 1004.5, 300.5, 3008.5});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    EXPECT_TRUE(close(run_on(device, *conv_transpose2d(), {x, w, bias})[0], want, 0)) << name(device);
  }
}

TEST(ConvTranspose2d, Gradient) {
  const Tensor x = make({DType::fp32, {2, 2, 3, 3}}, Fill::normal(), 1), w = make({DType::fp32, {3, 2, 2, 2}}, Fill::normal(), 2),
               bias = make({DType::fp32, {2}}, Fill::normal(), 3);
  check_gradient(conv_transpose2d(), {x, w, bias}, {0, 1, 2});
  check_gradient(conv_transpose2d(), {x, make({DType::fp32, {3, 3, 2, 4}}, Fill::normal(), 4)}, {0, 1});
}

TEST(ConvTranspose2d, Devices) {
  for (const DType dtype : {DType::fp32, DType::bf16, DType::fp16})
    for (const ConvTranspose2dCase& c : kConvTranspose2dCases)
      for (const bool tf32 : {false, true}) {
        if (tf32 && dtype != DType::fp32) continue;
        SCOPED_TRACE(text(name(dtype), tf32 ? " tf32 " : " ", c.n, "x", c.h, "x", c.w, "x", c.c, " kernel ", c.r, "x", c.s, " to ", c.k));
        const Tensor x = make({dtype, {c.n, c.h, c.w, c.c}}, Fill::normal(), 1), w = make({dtype, {c.c, c.r, c.s, c.k}}, Fill::normal(), 2);
        check_devices(*conv_transpose2d({tf32}), {x, w});
        check_devices(*conv_transpose2d({tf32}), {x, w, make({DType::fp32, {c.k}}, Fill::normal(), 3)});
      }
}

TEST(ConvTranspose2d, Rejects) {
  const TensorSpec x{DType::fp32, {2, 4, 4, 3}}, w{DType::fp32, {3, 2, 2, 5}};
  const auto outputs = [](std::vector<TensorSpec> inputs) { return conv_transpose2d()->outputs(inputs); };
  EXPECT_EQ(outputs({x, w})[0], (TensorSpec{DType::fp32, {2, 8, 8, 5}}));
  EXPECT_THROW(outputs({x}), Error);
  EXPECT_THROW(outputs({x, {DType::bf16, {3, 2, 2, 5}}}), Error);
  EXPECT_THROW(outputs({x, {DType::fp32, {4, 2, 2, 5}}}), Error);
  EXPECT_THROW(outputs({x, w, {DType::fp32, {3}}}), Error);
  EXPECT_THROW(outputs({x, {DType::int32, {3, 2, 2, 5}}}), Error);
}

}  // namespace
}  // namespace epitaxy::test
