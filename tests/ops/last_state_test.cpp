// The last layer's states of a recurrent network: values, gradient, every device.
#include "epitaxy/ops/rnn.h"
#include "tests/cases/activation.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(LastState, HandValues) {
  const Tensor h = values(DType::fp32, {4, 2, 1}, {1, 2, 3, 4, 5, 6, 7, 8});  // 2 layers, 2 directions, 2 sequences
  const Context context{&cpu_backend(), {}, true};
  EXPECT_TRUE(same(run(*last_state(2), {h}, context)[0], values(DType::fp32, {2, 2}, {5, 7, 6, 8})));
  EXPECT_TRUE(same(run(*last_state(1), {h}, context)[0], values(DType::fp32, {2, 1}, {7, 8})));
  EXPECT_TRUE(same(run(*last_state_gradient(2, 2), {values(DType::fp32, {2, 2}, {5, 7, 6, 8})}, context)[0],
                   values(DType::fp32, {4, 2, 1}, {0, 0, 0, 0, 5, 6, 7, 8})));
}

TEST(LastState, Gradient) {
  check_gradient(last_state(2), {make({DType::fp32, {4, 3, 5}}, Fill::normal(), 1)}, {0});
  check_gradient(last_state(1), {make({DType::fp32, {2, 3, 5}}, Fill::normal(), 1)}, {0});
}

TEST(LastState, Devices) {
  for (const DType dtype : kFloatTypes)
    for (const std::int64_t directions : {1, 2})
      for (const std::int64_t size : {1, 33}) {
        check_devices(*last_state(directions), {make({dtype, {2 * directions, 9, size}}, Fill::normal(), 1)});
        check_devices(*last_state_gradient(3, directions), {make({dtype, {9, directions * size}}, Fill::normal(), 2)});
      }
}

TEST(LastState, Rejects) {
  const auto outputs = [](const OperationPtr& operation, Shape shape, DType dtype = DType::fp32) {
    return operation->outputs(std::vector<TensorSpec>{{dtype, shape}});
  };
  EXPECT_EQ(outputs(last_state(2), {4, 3, 5})[0].shape, (Shape{3, 10}));
  EXPECT_THROW(outputs(last_state(2), {3, 3, 5}), Error);
  EXPECT_THROW(outputs(last_state(1), {3, 5}), Error);
  EXPECT_THROW(outputs(last_state(1), {1, 3, 5}, DType::int32), Error);
  EXPECT_THROW(outputs(last_state_gradient(1, 2), {3, 5}), Error);
  EXPECT_THROW(last_state(3), Error);
  EXPECT_THROW(last_state_gradient(0, 1), Error);
}

}  // namespace
}  // namespace epitaxy::test
