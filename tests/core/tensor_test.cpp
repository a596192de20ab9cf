// Tensors: ownership, views, typed access, copies.
#include "epitaxy/tensor.h"

#include <gtest/gtest.h>

#include <sstream>

namespace epitaxy {
namespace {

Tensor counting(Shape shape) {
  Tensor tensor(cpu_backend(), {DType::fp32, shape});
  for (std::int64_t i = 0; i < tensor.count(); ++i) tensor.as<float>()[i] = static_cast<float>(i);
  return tensor;
}

TEST(Tensor, SpecsKnowTheirBytes) {
  EXPECT_EQ((TensorSpec{DType::bf16, {3, 5}}).bytes(), 30u);
  EXPECT_EQ((TensorSpec{DType::int64, {0}}).bytes(), 0u);
  std::ostringstream out;
  out << TensorSpec{DType::fp32, {2, 3}};
  EXPECT_EQ(out.str(), "fp32 [2, 3]");
}

TEST(Tensor, IsAlignedTo256Bytes) {
  for (int i = 1; i < 5; ++i) EXPECT_EQ(reinterpret_cast<std::uintptr_t>(Tensor(cpu_backend(), {DType::uint8, {i}}).data()) % 256, 0u);
}

TEST(Tensor, ViewsShareMemoryAndKeepItAlive) {
  Tensor view;
  {
    const Tensor whole = counting({4, 3});
    view = whole.slice(1, 2);
    view.as<float>()[0] = 30;
    EXPECT_EQ(whole.as<float>()[3], 30);
  }
  EXPECT_EQ(view.shape(), (Shape{2, 3}));
  EXPECT_EQ(view.span<float>().size(), 6u);
  EXPECT_EQ(view.as<float>()[5], 8);
  EXPECT_EQ(view.reshape({6}).as<float>()[0], 30);
}

TEST(Tensor, SlicesOfEmptyRanges) {
  const Tensor whole = counting({4, 3});
  EXPECT_EQ(whole.slice(4, 0).count(), 0);
  EXPECT_EQ(whole.slice(0, 4).data(), whole.data());
}

TEST(Tensor, CopiesAreIndependent) {
  const Tensor from = counting({5});
  const Tensor to = copy_to(cpu_backend(), from, cpu_backend());
  from.as<float>()[2] = 77;
  EXPECT_EQ(to.as<float>()[2], 2);
  EXPECT_EQ(to.spec(), from.spec());
}

TEST(Tensor, Rejects) {
  const Tensor tensor = counting({4, 3});
  EXPECT_THROW(tensor.as<std::int32_t>(), Error);
  EXPECT_THROW(tensor.reshape({5, 3}), Error);
  EXPECT_THROW(tensor.slice(3, 2), Error);
  EXPECT_THROW(tensor.slice(-1, 1), Error);
  EXPECT_THROW(tensor.slice(0, -1), Error);
  const auto buffer = std::make_shared<Buffer>(cpu_backend(), 16);
  EXPECT_THROW(Tensor(buffer, 8, {DType::fp32, {3}}), Error);
  EXPECT_FALSE(static_cast<bool>(Tensor()));
}

}  // namespace
}  // namespace epitaxy
