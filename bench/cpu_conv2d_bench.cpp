// The CPU's convolution paths side by side, on the layers of a small crystal CNN (1x64x64, batch 64) and of ResNet-18 (batch 16).
#include <benchmark/benchmark.h>

#include "cpu/conv2d_onednn.h"
#include "cpu/conv2d_winograd.h"
#include "cpu/threads.h"
#include "epitaxy/tensor.h"

namespace epitaxy {
namespace {

struct Layer3x3 {
  std::int64_t n, size, c, k;
};
constexpr Layer3x3 kLayers[] = {{64, 64, 1, 32},  {64, 64, 32, 32}, {64, 32, 32, 64},
                                {64, 32, 64, 64}, {16, 64, 64, 64}, {16, 16, 256, 256}};
constexpr const char* kPasses[] = {"forward", "input_gradient", "filter_gradient"};

Conv2dProblem problem_of(const Layer3x3& l, Conv2dPass pass, DType dtype) {
  Conv2dProblem d{};
  d.n = l.n, d.h = d.w = d.p = d.q = l.size, d.c = l.c, d.k = l.k, d.r = d.s = 3;
  d.stride = d.dilation = {1, 1}, d.padding = {1, 1, 1, 1}, d.groups = 1, d.dtype = dtype;
  d.bias = pass == Conv2dPass::forward;
  d.activation = d.bias ? Activation::relu : Activation::none;
  return d;
}

Tensor noise(DType dtype, std::int64_t count) {
  Tensor tensor(cpu_backend(), {dtype, {count}});
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = static_cast<float>((i * 7919) % 1000) / 500 - 1;
    if (dtype == DType::fp32)
      tensor.as<float>()[i] = value;
    else
      tensor.as<BFloat16>()[i] = round<BFloat16>(value);
  }
  return tensor;
}

/// `run(args, workspace)` is the path.
template <class Run>
void measure(benchmark::State& state, const Conv2dProblem& d, Conv2dPass pass, std::size_t workspace_bytes, Run&& run) {
  const Tensor x = noise(d.dtype, d.n * d.h * d.w * d.c), y = noise(d.dtype, d.output_pixels() * d.k),
               filter = noise(d.dtype, d.k * 9 * d.c);
  const Tensor bias = noise(DType::fp32, d.k), dw(cpu_backend(), {DType::fp32, {d.k * 9 * d.c}});
  const Tensor workspace(cpu_backend(), {DType::uint8, {static_cast<std::int64_t>(workspace_bytes)}});
  Conv2dArgs args{pass, d, x.data(), filter.data(), y.data(), bias.as<float>()};
  args.result = pass == Conv2dPass::forward ? y.data() : pass == Conv2dPass::input_gradient ? x.data() : dw.data();
  run(args, workspace.data());
  for (auto _ : state) run(args, workspace.data());
  const double flops = 2.0 * static_cast<double>(d.output_pixels()) * static_cast<double>(d.k * 9 * d.c);
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void add(const Layer3x3& layer, Conv2dPass pass, DType dtype) {
  const Conv2dProblem d = problem_of(layer, pass, dtype);
  const std::string name = text("conv2d/", kPasses[static_cast<int>(pass)], "/", epitaxy::name(dtype), "/", layer.size, "x", layer.size,
                                "x", layer.c, "to", layer.k, "/batch", layer.n, "/cpu/");
#if EPITAXY_HAS_ONEDNN
  benchmark::RegisterBenchmark((name + "direct").c_str(),
                               [=](benchmark::State& state) {
                                 const auto direct = OnednnConv2d::make(pass, d);
                                 if (!direct) return state.SkipWithError("no direct path");
                                 measure(state, d, pass, direct->workspace_bytes(),
                                         [&](const Conv2dArgs& args, void* memory) { direct->run(args, static_cast<std::byte*>(memory)); });
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
#endif
  if (!WinogradConv2d::suits(pass, d)) return;
  benchmark::RegisterBenchmark((name + "winograd").c_str(),
                               [=](benchmark::State& state) {
                                 const WinogradConv2d winograd(pass, d, cpu_threads());
                                 measure(state, d, pass, winograd.workspace_bytes(),
                                         [&](const Conv2dArgs& args, void* memory) { winograd.run(args, static_cast<float*>(memory)); });
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

}  // namespace
}  // namespace epitaxy

int main(int argc, char** argv) {
  using namespace epitaxy;
  pin_cpu_threads();
  for (const auto& layer : kLayers)
    for (const DType dtype : {DType::fp32, DType::bf16})
      for (const Conv2dPass pass : {Conv2dPass::forward, Conv2dPass::input_gradient, Conv2dPass::filter_gradient}) add(layer, pass, dtype);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
