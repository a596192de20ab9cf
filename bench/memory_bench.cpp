// Memory-bound operations: GB/s of least traffic, and its share of the copy bandwidth measured in the same run.
//   memory_bench [cpu|cuda] [Google Benchmark flags]; without a device: cuda where there is one, else cpu.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <iostream>

#include "bench/random_data.h"
#include "cpu/parallel.h"
#include "tests/cases/memory.h"
#include "tests/support/compare.h"

namespace epitaxy {
namespace {

/// Seconds of the fastest of several calls; `work` is queued `repeats` times before each wait.
template <class Work>
double fastest(const Context& context, int repeats, Work&& work) {
  double best = 1e30;
  for (int i = 0; i < 8; ++i) {
    const auto start = std::chrono::steady_clock::now();
    for (int k = 0; k < repeats; ++k) work();
    context.backend->synchronize(context.stream);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeats);
  }
  return best;
}

/// Bytes read and written each second by a plain copy of `bytes`, with all threads on the CPU.
double copy_bandwidth(const Context& context, std::size_t bytes) {
  const Tensor from = bench::filled(*context.backend, {DType::uint8, {static_cast<std::int64_t>(bytes)}}, 1);
  const Tensor to(*context.backend, from.spec());
  const double seconds = fastest(context, 10, [&] {
    if (context.device().kind != DeviceKind::cpu) return context.backend->copy(to.data(), from.data(), bytes, context.stream);
    parallel_for(static_cast<std::int64_t>(bytes), [&](std::int64_t first, std::int64_t last) {
      std::memcpy(to.as<std::uint8_t>() + first, from.as<std::uint8_t>() + first, static_cast<std::size_t>(last - first));
    });
  });
  return 2.0 * static_cast<double>(bytes) / seconds;
}

void measure(benchmark::State& state, const test::MemoryCase& one, const Context& context, double copy) {
  std::vector<Tensor> inputs, outputs;
  for (const TensorSpec& spec : one.inputs) inputs.push_back(bench::filled(*context.backend, spec, inputs.size()));
  for (const TensorSpec& spec : one.operation->outputs(one.inputs)) outputs.emplace_back(*context.backend, spec);
  const auto prepared = one.operation->prepare(one.inputs, context);
  const Tensor workspace(*context.backend,
                         {DType::uint8, {static_cast<std::int64_t>(one.operation->workspace_bytes(one.inputs, context, prepared.get()))}});
  const auto run_once = [&] { one.operation->run({inputs, outputs, workspace, prepared.get(), context}); };
  run_once();
  context.backend->synchronize(context.stream);
  constexpr int kRepeats = 10;  // so that the wait does not count
  for (auto _ : state) {
    for (int i = 0; i < kRepeats; ++i) run_once();
    context.backend->synchronize(context.stream);
  }
  const double bytes = one.operation->cost(one.inputs).bytes * kRepeats;
  state.counters["each"] = benchmark::Counter(kRepeats, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_copy"] = benchmark::Counter(bytes / copy, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace
}  // namespace epitaxy

int main(int argc, char** argv) {
  using namespace epitaxy;
  Device device{DeviceKind::cuda, 0};
  if (!test::why_absent(device).empty()) device = {};
  if (argc > 1 && argv[1][0] != '-') {
    device = parse_device(argv[1]);
    argv[1] = argv[0];
    ++argv, --argc;
  }
  const Context context = make_context(device);
  const bool gpu = device.kind == DeviceKind::cuda;
  const double copy = copy_bandwidth(context, gpu ? std::size_t{1} << 29 : std::size_t{1} << 26);
  std::cout << "copy bandwidth on " << name(device) << ": " << copy * 1e-9 << " GB/s (read and written)\n";
  const Shape image = gpu ? Shape{256, 64, 64, 64} : Shape{64, 64, 64, 32};  // beyond every cache
  for (const DType dtype : {DType::fp32, DType::bf16})
    for (const auto& one : test::memory_cases(dtype, image))
      benchmark::RegisterBenchmark((one.name + "/" + std::string(name(dtype))).c_str(),
                                   [one, context, copy](benchmark::State& state) { measure(state, one, context, copy); })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime()
          ->MinTime(0.1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
