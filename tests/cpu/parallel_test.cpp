// The fast CPU paths at sizes that are split over threads: right, and with the same bits for every number of threads.
#include <gtest/gtest.h>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "tests/cases/memory.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(Threads, NeverChangeAResult) {
#if defined(_OPENMP)
  const int before = omp_get_max_threads();
  for (const DType dtype : {DType::fp32, DType::bf16})
    for (const MemoryCase& one : memory_cases(dtype, {5, 34, 30, 40})) {
      SCOPED_TRACE(text(one.name, " ", name(dtype)));
      std::vector<Tensor> inputs;
      for (const TensorSpec& spec : one.inputs)
        inputs.push_back(make(spec, is_floating(spec.dtype) ? Fill::normal() : Fill::integers(0, 1), inputs.size()));
      omp_set_num_threads(1);
      const auto alone = run_on({}, *one.operation, inputs);
      EXPECT_TRUE(meets_tolerance(*one.operation, inputs, alone));
      for (const int threads : {2, 3}) {
        omp_set_num_threads(threads);
        const auto together = run_on({}, *one.operation, inputs);
        for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(same(together[i], alone[i])) << threads << " threads, output " << i;
      }
    }
  omp_set_num_threads(before);
#else
  GTEST_SKIP() << "this build has no OpenMP";
#endif
}

}  // namespace
}  // namespace epitaxy::test
