// Recurrent networks, forward and backward: workload D's LSTM and its kin, on the CPU or --benchmark_filter=cuda.
#include <benchmark/benchmark.h>

#include "tests/cases/rnn.h"
#include "tests/support/compare.h"

namespace epitaxy {
namespace {

using test::Fill;

/// An operation bound to memory on a device, run again and again.
struct Bound {
  Bound(OperationPtr given, std::vector<Tensor> arguments, const Context& where)
      : operation(std::move(given)), inputs(std::move(arguments)), context(where) {
    std::vector<TensorSpec> specs;
    for (const Tensor& input : inputs) specs.push_back(input.spec());
    prepared = operation->prepare(specs, context);
    for (const TensorSpec& spec : operation->outputs(specs)) {
      const auto bytes = operation->output_bytes(static_cast<int>(outputs.size()), specs, context, prepared.get());
      outputs.emplace_back(std::make_shared<Buffer>(*context.backend, bytes), 0, spec);
    }
    const auto scratch = static_cast<std::int64_t>(operation->workspace_bytes(specs, context, prepared.get()));
    workspace = Tensor(*context.backend, {DType::uint8, {scratch}});
    flops = operation->cost(specs).flops;
  }
  void run() const {
    operation->run({inputs, outputs, workspace, prepared.get(), context});
    context.backend->synchronize(context.stream);
  }
  OperationPtr operation;
  std::vector<Tensor> inputs, outputs;
  Context context;
  std::shared_ptr<Prepared> prepared;
  Tensor workspace;
  double flops = 0;
};

void rnn_pass(benchmark::State& state, Device device, RnnMode mode, DType dtype, bool backward) {
  if (const std::string why = test::why_absent(device); !why.empty()) return state.SkipWithError(why.c_str());
  const std::int64_t batch = 64, steps = 128, features = 8;
  const RnnOptions options{.mode = mode, .hidden = 128, .layers = 2};
  const Context context = make_context(device);
  std::vector<Tensor> inputs;
  const auto add = [&](TensorSpec spec, Fill fill) {
    inputs.push_back(copy_to(*context.backend, test::make(spec, fill, inputs.size() + 1), cpu_backend()));
  };
  add({dtype, {batch, steps, features}}, Fill::normal());
  for (const RnnParameter& parameter : rnn_parameters(options, features))
    add({parameter.shape.rank() == 1 ? DType::fp32 : dtype, parameter.shape}, Fill::uniform(-0.088, 0.088));
  const Bound forward(rnn(options), inputs, context);
  forward.run();
  inputs.push_back(forward.outputs[0]), inputs.push_back(forward.outputs.back());
  add(forward.outputs[0].spec(), Fill::normal());
  const Bound gradient(rnn_gradient(options, {.x = false}), inputs, context);
  for (auto _ : state) {
    if (backward && device.kind == DeviceKind::cuda) {  // cuDNN's gradient works in the reserve
      state.PauseTiming();
      forward.run();
      state.ResumeTiming();
    }
    (backward ? gradient : forward).run();
  }
  const double flops = (backward ? gradient : forward).flops;
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["sequences/s"] = benchmark::Counter(static_cast<double>(batch), benchmark::Counter::kIsIterationInvariantRate);
}

void add_all() {
  std::vector<Device> devices{{DeviceKind::cpu, 0}};
#if EPITAXY_HAS_CUDA
  devices.push_back({DeviceKind::cuda, 0});
#endif
  for (const Device device : devices)
    for (const RnnMode mode : test::kRnnModes)
      for (const DType dtype : {DType::fp32, DType::bf16})
        for (const bool backward : {false, true})
          benchmark::RegisterBenchmark(text(name(device), "/", name(mode), "/", name(dtype), backward ? "/backward" : "/forward").c_str(),
                                       rnn_pass, device, mode, dtype, backward)
              ->Unit(benchmark::kMillisecond)
              ->UseRealTime();
}

}  // namespace
}  // namespace epitaxy

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  epitaxy::add_all();
  benchmark::RunSpecifiedBenchmarks();
}
