// Convolution layers of real networks: every pass and arithmetic, plain and fused, on a GPU each beside cuDNN's fastest engine for the same
// operation: same tensors of random data, same run, the L2 cache overwritten before every measurement.
//   conv2d_bench --benchmark_filter='forward/bf16' --benchmark_format=json
#include <benchmark/benchmark.h>

#include <map>
#include <memory>

#include "bench/conv2d_layers.h"
#include "bench/random_data.h"
#include "kernels/conv2d.h"
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

/// What a forward pass does beside the convolution.
enum class Fused { nothing, bias_relu, bias_residual_relu };

struct Work {
  Conv2dCase layer;
  Conv2dPass pass;
  Fused fused;
  Arithmetic arithmetic;
};

/// One layer and pass on one device: random inputs, outputs, workspace.
struct Layer {
  Layer(const Work& work, Device device) : pass(work.pass), context(make_context(device)) {
    const Conv2dCase& one = work.layer;
    Conv2dOptions options = one.options;
    options.tf32 = work.arithmetic.tf32;
    options.activation = work.fused == Fused::nothing ? Activation::none : Activation::relu;
    const DType dtype = work.arithmetic.dtype;
    const TensorSpec x{dtype, one.x()}, filter{dtype, one.filter()}, bias{DType::fp32, {one.k}};
    const TensorSpec y = conv2d(one.options)->outputs(std::vector{x, filter})[0];
    options.residual = work.fused == Fused::bias_residual_relu;
    const auto add = [&](const TensorSpec& spec, std::uint64_t seed) {
      specs.push_back(spec);
      inputs.push_back(filled(*context.backend, spec, seed));
    };
    switch (pass) {
      case Conv2dPass::forward: operation = conv2d(options), add(x, 1), add(filter, 2); break;
      case Conv2dPass::input_gradient: operation = conv2d_input_gradient(options, one.h, one.w), add(y, 3), add(filter, 2); break;
      case Conv2dPass::filter_gradient: operation = conv2d_filter_gradient(options, one.r, one.s), add(x, 1), add(y, 3); break;
    }
    if (work.fused != Fused::nothing) add(bias, 4);
    if (options.residual) add(y, 5);
    for (const TensorSpec& spec : operation->outputs(specs)) outputs.emplace_back(*context.backend, spec);
    problem = {one.n,
               one.h,
               one.w,
               one.c,
               one.k,
               one.r,
               one.s,
               y.shape[1],
               y.shape[2],
               options.stride,
               options.dilation,
               options.padding,
               options.padding_mode,
               options.groups,
               dtype,
               options.tf32,
               work.fused != Fused::nothing,
               options.activation};
    problem.residual = options.residual;
    use(operation);
  }
  void use(OperationPtr chosen) {
    operation = std::move(chosen);
    prepared = operation->prepare(specs, context);
    workspace = {};
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

/// The benchmark library calls a body several times, and two bodies share a layer: the latest is kept between the calls.
struct Held {
  std::string name;
  std::unique_ptr<Layer> layer;
  bool tuned = false;
};
Held& held_layer(const std::string& name, const Work& work, Device device) {
  static Held held;
  if (held.name != name) {
    held = {};
    held = {name, std::make_unique<Layer>(work, device), false};
  }
  return held;
}

void report(benchmark::State& state, const Layer& layer) {
  const Cost cost = layer.operation->cost(layer.specs);
  state.counters["flop/s"] = benchmark::Counter(cost.flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["byte/s"] = benchmark::Counter(cost.bytes, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["C"] = static_cast<double>(layer.problem.c);
  state.counters["K"] = static_cast<double>(layer.problem.k);
}

void on_cpu(benchmark::State& state, const std::string& name, const Work& work) {
  Layer& layer = *held_layer(name, work, {DeviceKind::cpu, 0}).layer;
  layer.run();
  for (auto _ : state) layer.run();
  report(state, layer);
}

#if EPITAXY_HAS_CUDA
template <class Timed>
void time_on_gpu(benchmark::State& state, Layer& layer, Timed&& work) {
  GpuTimer timer(static_cast<cudaStream_t>(layer.context.stream.handle));
  for (int warm_up = 0; warm_up < 3; ++warm_up) timer.seconds(work);
  for (auto _ : state) state.SetIterationTime(timer.seconds(work));
  report(state, layer);
}

/// The fastest of the variants that a tuned plan may choose from.
void tune(Layer& layer) {
  GpuTimer timer(static_cast<cudaStream_t>(layer.context.stream.handle));
  OperationPtr best = layer.operation;
  double least = 1e30;
  for (const auto& candidate : layer.operation->candidates(layer.specs, layer.context)) {
    layer.use(candidate);
    double seconds = 1e30;
    for (int i = 0; i < 5; ++i) seconds = std::min(seconds, timer.seconds([&] { layer.run(); }));
    if (seconds < least) least = seconds, best = candidate;
  }
  layer.use(best);
}

void on_gpu(benchmark::State& state, const std::string& name, const Work& work) {
  Held& held = held_layer(name, work, {DeviceKind::cuda, 0});
  if (!std::exchange(held.tuned, true)) tune(*held.layer);
  time_on_gpu(state, *held.layer, [&] { held.layer->run(); });
  state.SetLabel(held.layer->operation->variant());
}

#if EPITAXY_HAS_CUDNN
void by_cudnn(benchmark::State& state, const std::string& name, const Work& work) try {
  Layer& layer = *held_layer(name, work, {DeviceKind::cuda, 0}).layer;
  static std::string searched;
  static std::unique_ptr<CudnnConv2d> peer;
  if (std::exchange(searched, name) != name || !peer) {
    peer.reset();
    std::vector<const void*> inputs;
    for (const Tensor& tensor : layer.inputs) inputs.push_back(tensor.data());
    peer = std::make_unique<CudnnConv2d>(layer.pass, layer.problem, inputs, layer.outputs[0].data(),
                                         static_cast<cudaStream_t>(layer.context.stream.handle));
  }
  time_on_gpu(state, layer, [&] { peer->run(); });
  state.counters["configurations"] = peer->configurations();
  state.counters["deterministic"] = peer->deterministic();
} catch (const Error& error) {
  state.SkipWithError(error.what());
}
#endif
#endif

void add_one(const std::string& group, const Work& work, bool gpu) {
  const std::string name = text("conv2d/", group, "/", work.arithmetic.name, "/", work.layer.name);
  const auto add = [&](const char* who, auto body) {
    return benchmark::RegisterBenchmark((name + "/" + who).c_str(), [=](benchmark::State& state) { body(state, name, work); });
  };
  if (!gpu) {
    if (work.arithmetic.dtype == DType::fp32 && !work.arithmetic.tf32) add("cpu", on_cpu)->UseRealTime();
    return;
  }
#if EPITAXY_HAS_CUDA
  add("epitaxy", on_gpu)->UseManualTime();
#if EPITAXY_HAS_CUDNN
  add("cudnn", by_cudnn)->UseManualTime();
#endif
#endif
}

void add_all() {
  constexpr std::array<Arithmetic, 4> kArithmetic{
      {{"bf16", DType::bf16, false}, {"fp16", DType::fp16, false}, {"tf32", DType::fp32, true}, {"fp32", DType::fp32, false}}};
  constexpr std::array<std::pair<Conv2dPass, const char*>, 3> kPasses{
      {{Conv2dPass::forward, "forward"}, {Conv2dPass::input_gradient, "input_gradient"}, {Conv2dPass::filter_gradient, "filter_gradient"}}};
  const bool gpu = EPITAXY_HAS_CUDA && test::why_absent({DeviceKind::cuda, 0}).empty();
  for (const Arithmetic& arithmetic : kArithmetic) {
    // Every network's layers in bf16, a choice of them in the other types and on a CPU.
    std::vector<Conv2dCase> layers = test::conv2d_layers(gpu ? 64 : 4);
    if (gpu && arithmetic.dtype == DType::bf16)
      for (Conv2dCase& one : network_layers()) layers.push_back(std::move(one));
    for (const auto& [pass, name] : kPasses)
      for (const Conv2dCase& one : layers)
        if (pass != Conv2dPass::input_gradient || one.c > 1)
          add_one(name, {one, pass, Fused::nothing, arithmetic}, gpu);  // a first layer has none
    for (const Conv2dCase& one : test::conv2d_layers(gpu ? 64 : 4)) {
      add_one("forward_bias_relu", {one, Conv2dPass::forward, Fused::bias_relu, arithmetic}, gpu);
      add_one("forward_bias_residual_relu", {one, Conv2dPass::forward, Fused::bias_residual_relu, arithmetic}, gpu);
    }
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
