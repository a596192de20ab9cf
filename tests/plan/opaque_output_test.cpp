// An output whose size its operation decides on the device: the plan gives it that much memory.
#include <gtest/gtest.h>

#include <cstring>

#include "epitaxy/plan/plan.h"
#include "plan/execution.h"

namespace epitaxy {
namespace {

/// x -> (y = x + 1, reserve uint8 [1], of which the library takes 4096 bytes and fills them).
class WithReserve final : public Operation {
 public:
  std::string name() const override { return "with_reserve"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override { return {inputs[0], {DType::uint8, {1}}}; }
  bool is_opaque(int output) const override { return output == 1; }
  std::size_t output_bytes(int output, std::span<const TensorSpec> inputs, const Context&, const Prepared*) const override {
    return output == 1 ? 4096 : inputs[0].bytes();
  }
  bool capturable() const override { return false; }
  void run(const Call& call) const override {
    for (std::int64_t i = 0; i < call.inputs[0].count(); ++i) call.outputs[0].as<float>()[i] = call.inputs[0].as<float>()[i] + 1;
    std::memset(call.outputs[1].data(), 0x5a, 4096);
  }
};

TEST(OpaqueOutput, GetsTheBytesItsOperationAsksFor) {
  const Context context = make_context({});
  const auto operation = std::make_shared<WithReserve>();
  Graph graph;
  const ValueId x = graph.add_value("x", {DType::fp32, {2}}, Role::input);
  const auto first = graph.add(operation, {x}), second = graph.add(operation, {first[0]});
  const std::vector<ValueId> kept{x, first[0], first[1], second[0], second[1]};
  Plan plan(graph, context, {}, kept);
  EXPECT_EQ(plan.arena_bytes(), 2u * 4096 + 3 * 256);
  plan.bind(std::make_shared<Buffer>(*context.backend, plan.arena_bytes()), {});
  plan.tensor(x).as<float>()[0] = 1, plan.tensor(x).as<float>()[1] = 2;
  Execution(plan, context).run();
  EXPECT_EQ(plan.tensor(first[0]).as<float>()[1], 3);  // nothing that stays readable was written over
  EXPECT_EQ(plan.tensor(second[0]).as<float>()[1], 4);
  EXPECT_EQ(plan.tensor(x).as<float>()[0], 1);
  EXPECT_EQ(plan.tensor(first[1]).spec().bytes(), 1u);
  EXPECT_EQ(static_cast<unsigned char*>(plan.tensor(second[1]).data())[4095], 0x5a);
}

TEST(OpaqueOutput, RunOutsideAPlanGivesThemToo) {
  const Tensor x(cpu_backend(), {DType::fp32, {1}});
  *x.as<float>() = 4;
  const auto results = run(WithReserve(), {x}, make_context({}));
  EXPECT_EQ(*results[0].as<float>(), 5);
  EXPECT_EQ(static_cast<unsigned char*>(results[1].data())[4095], 0x5a);
}

}  // namespace
}  // namespace epitaxy
