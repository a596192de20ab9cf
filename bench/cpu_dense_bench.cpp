// The CPU's matrix products on the layers of 784-64-64-1 at batch 32, of a small CNN's classifier, and a large one.
#include <benchmark/benchmark.h>

#include "cpu/dense.h"
#include "epitaxy/tensor.h"

namespace epitaxy {
namespace {

struct Layer {
  std::int64_t rows, features, outputs;
};
constexpr Layer kLayers[] = {{32, 784, 64}, {32, 64, 64}, {32, 64, 1}, {64, 16384, 128}, {1024, 1024, 1024}};
constexpr const char* kPasses[] = {"forward", "input_gradient", "weight_gradient"};

Tensor ones(DType dtype, std::int64_t count) {
  Tensor tensor(cpu_backend(), {dtype, {count}});
  for (std::int64_t i = 0; i < count; ++i)
    if (dtype == DType::fp32)
      tensor.as<float>()[i] = 1;
    else
      tensor.as<BFloat16>()[i] = round<BFloat16>(1.0f);
  return tensor;
}

void dense_product(benchmark::State& state, DensePass pass, Layer layer, DType dtype) {
  const DType output = pass == DensePass::weight_gradient ? DType::fp32 : dtype;
  const GemmProblem problem = dense_problem(pass, layer.rows, layer.features, layer.outputs, dtype, output, false);
  const auto prepared = cpu_prepare_dense(problem);
  if (!prepared) return state.SkipWithError("no fast path");
  const Tensor a = ones(dtype, problem.m * problem.k), b = ones(dtype, problem.k * problem.n), c = ones(output, problem.m * problem.n);
  const Tensor workspace(cpu_backend(), {DType::uint8, {static_cast<std::int64_t>(cpu_dense_workspace_bytes(*prepared))}});
  const DenseArgs args{a.data(), b.data(), nullptr, c.data()};
  for (auto _ : state) cpu_run_dense(*prepared, args, workspace.data());
  const double flops = 2.0 * static_cast<double>(problem.m) * static_cast<double>(problem.n) * static_cast<double>(problem.k);
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace
}  // namespace epitaxy

int main(int argc, char** argv) {
  using namespace epitaxy;
  for (const auto& layer : kLayers)
    for (const DType dtype : {DType::fp32, DType::bf16})
      for (const DensePass pass : {DensePass::forward, DensePass::input_gradient, DensePass::weight_gradient}) {
        const std::string name = text("dense/", kPasses[static_cast<int>(pass)], "/", epitaxy::name(dtype), "/", layer.rows, "x",
                                      layer.features, "to", layer.outputs, "/cpu");
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { dense_product(state, pass, layer, dtype); })
            ->Unit(benchmark::kMicrosecond)
            ->UseRealTime();
      }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
