// Convolution layers of real networks: every pass and arithmetic, on a GPU beside cuDNN's fastest deterministic algorithm.
//   conv2d_bench --benchmark_filter='forward/bf16' --benchmark_format=json
#include <benchmark/benchmark.h>

#include <map>
#include <memory>

#include "ops/conv2d.h"
#include "tests/cases/conv2d.h"
#include "tests/support/compare.h"
#if EPITAXY_HAS_CUDA
#include "bench/gpu_timer.h"
#if EPITAXY_HAS_CUDNN
#include "bench/cudnn_conv2d.h"
#endif
#endif

namespace epitaxy::bench {
namespace {

using test::Conv2dCase;

struct Arithmetic {
  const char* name;
  DType dtype;
  bool tf32;
};

/// One layer and pass on one device: random inputs, outputs, workspace.
struct Layer {
  Layer(const Conv2dCase& one, Conv2dPass pass_, const Arithmetic& arithmetic, Device device) : pass(pass_), context(make_context(device)) {
    Conv2dOptions options = one.options;
    options.tf32 = arithmetic.tf32;
    const TensorSpec x{arithmetic.dtype, one.x()}, filter{arithmetic.dtype, one.filter()};
    const TensorSpec y = conv2d(options)->outputs(std::vector{x, filter})[0];
    problem = conv2d_problem(Conv2dPass::forward, options, {1, 1}, std::vector{x, filter});
    const auto add = [&](const TensorSpec& spec, std::uint64_t seed) {
      specs.push_back(spec);
      inputs.push_back(copy_to(*context.backend, test::make(spec, test::Fill::uniform(-1, 1), seed), cpu_backend()));
    };
    switch (pass) {
      case Conv2dPass::forward: operation = conv2d(options), add(x, 1), add(filter, 2); break;
      case Conv2dPass::input_gradient: operation = conv2d_input_gradient(options, one.h, one.w), add(y, 3), add(filter, 2); break;
      case Conv2dPass::filter_gradient: operation = conv2d_filter_gradient(options, one.r, one.s), add(x, 1), add(y, 3); break;
    }
    for (const TensorSpec& spec : operation->outputs(specs)) outputs.emplace_back(*context.backend, spec);
    prepared = operation->prepare(specs, context);
    workspace =
        Tensor(*context.backend, {DType::uint8, {static_cast<std::int64_t>(operation->workspace_bytes(specs, context, prepared.get()))}});
  }
  void run() { operation->run({inputs, outputs, workspace, prepared.get(), context}); }

  Conv2dPass pass;
  Context context;
  Conv2dProblem problem{};
  OperationPtr operation;
  std::vector<TensorSpec> specs;
  std::vector<Tensor> inputs, outputs;
  std::shared_ptr<Prepared> prepared;
  Tensor workspace;
};

/// The benchmark library calls a body several times: the latest layer is kept between the calls.
Layer& layer_of(const Conv2dCase& one, Conv2dPass pass, const Arithmetic& arithmetic, Device device) {
  static std::string held;
  static std::unique_ptr<Layer> layer;
  const std::string key = text(one.name, " ", static_cast<int>(pass), " ", arithmetic.name, " ", name(device));
  if (held != key) {
    layer.reset();
    layer = std::make_unique<Layer>(one, pass, arithmetic, device);
    held = key;
  }
  return *layer;
}

void report(benchmark::State& state, const Layer& layer) {
  const Cost cost = layer.operation->cost(layer.specs);
  state.counters["flop/s"] = benchmark::Counter(cost.flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["byte/s"] = benchmark::Counter(cost.bytes, benchmark::Counter::kIsIterationInvariantRate);
}

void on_cpu(benchmark::State& state, const Conv2dCase& one, Conv2dPass pass, const Arithmetic& arithmetic) {
  Layer& layer = layer_of(one, pass, arithmetic, {DeviceKind::cpu, 0});
  layer.run();
  for (auto _ : state) layer.run();
  report(state, layer);
}

#if EPITAXY_HAS_CUDA
template <class Work>
void time_on_gpu(benchmark::State& state, Layer& layer, Work&& work) {
  GpuTimer timer(static_cast<cudaStream_t>(layer.context.stream.handle));
  for (int warm_up = 0; warm_up < 3; ++warm_up) timer.seconds(work);
  for (auto _ : state) state.SetIterationTime(timer.seconds(work));
  report(state, layer);
}

void on_gpu(benchmark::State& state, const Conv2dCase& one, Conv2dPass pass, const Arithmetic& arithmetic) {
  Layer& layer = layer_of(one, pass, arithmetic, {DeviceKind::cuda, 0});
  time_on_gpu(state, layer, [&] { layer.run(); });
}

#if EPITAXY_HAS_CUDNN
void by_cudnn(benchmark::State& state, const Conv2dCase& one, Conv2dPass pass, const Arithmetic& arithmetic) try {
  Layer& layer = layer_of(one, pass, arithmetic, {DeviceKind::cuda, 0});
  const void *first = layer.inputs[0].data(), *second = layer.inputs[1].data();
  const bool input = pass == Conv2dPass::input_gradient, filter = pass == Conv2dPass::filter_gradient;
  CudnnConv2d peer(pass, layer.problem, input ? nullptr : first, filter ? nullptr : second, input ? first : second, layer.outputs[0].data(),
                   static_cast<cudaStream_t>(layer.context.stream.handle));
  time_on_gpu(state, layer, [&] { peer.run(); });
} catch (const Error& error) {
  state.SkipWithError(error.what());
}
#endif
#endif

void add_all() {
  constexpr std::array<Arithmetic, 4> kArithmetic{
      {{"fp32", DType::fp32, false}, {"tf32", DType::fp32, true}, {"bf16", DType::bf16, false}, {"fp16", DType::fp16, false}}};
  constexpr std::array<std::pair<Conv2dPass, const char*>, 3> kPasses{
      {{Conv2dPass::forward, "forward"}, {Conv2dPass::input_gradient, "input_gradient"}, {Conv2dPass::filter_gradient, "filter_gradient"}}};
  const bool gpu = EPITAXY_HAS_CUDA && test::why_absent({DeviceKind::cuda, 0}).empty();
  for (const auto& [pass, pass_name] : kPasses)
    for (const Arithmetic& arithmetic : kArithmetic)
      for (const Conv2dCase& one : test::conv2d_layers(gpu ? 64 : 4)) {
        if (pass == Conv2dPass::input_gradient && one.c == 1) continue;  // a first layer has none
        const std::string name = text("conv2d/", pass_name, "/", arithmetic.name, "/", one.name);
        const auto add = [&, p = pass](const char* who, auto body) {
          return benchmark::RegisterBenchmark((name + "/" + who).c_str(),
                                              [=](benchmark::State& state) { body(state, one, p, arithmetic); });
        };
        if (!gpu) {
          if (arithmetic.dtype == DType::fp32 && !arithmetic.tf32) add("cpu", on_cpu)->UseRealTime();
          continue;
        }
#if EPITAXY_HAS_CUDA
        add("epitaxy", on_gpu)->UseManualTime();
#if EPITAXY_HAS_CUDNN
        add("cudnn", by_cudnn)->UseManualTime();
#endif
#endif
      }
}

}  // namespace
}  // namespace epitaxy::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  epitaxy::bench::add_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
