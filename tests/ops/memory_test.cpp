// The benchmark's cases at a small size: right on every device, and with the traffic that the bench divides by.
#include "tests/cases/memory.h"

#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(Memory, CasesAreRight) {
  for (const DType dtype : {DType::fp32, DType::bf16})
    for (const MemoryCase& one : memory_cases(dtype, {2, 4, 6, 8})) {
      SCOPED_TRACE(text(one.name, " ", name(dtype)));
      std::vector<Tensor> inputs;
      for (const TensorSpec& spec : one.inputs)
        inputs.push_back(make(spec, is_floating(spec.dtype) ? Fill::normal() : Fill::integers(0, 1), inputs.size()));
      check_devices(*one.operation, inputs);
    }
}

TEST(Memory, CostIsTheLeastTraffic) {
  for (const MemoryCase& one : memory_cases(DType::bf16, {2, 4, 6, 8})) {
    double bytes = 0;
    for (const auto& spec : one.inputs) bytes += static_cast<double>(spec.bytes());
    for (const auto& spec : one.operation->outputs(one.inputs)) bytes += static_cast<double>(spec.bytes());
    EXPECT_EQ(one.operation->cost(one.inputs).bytes, bytes) << one.name;
  }
}

}  // namespace
}  // namespace epitaxy::test
