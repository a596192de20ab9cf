// Which fast convolution runs: our Winograd kernels where they apply, else oneDNN's direct ones; and what stands around it.
#include "cpu/conv2d.h"

#include <optional>

#include "cpu/conv2d_epilogue.h"
#include "cpu/conv2d_onednn.h"
#include "cpu/conv2d_winograd.h"
#include "cpu/threads.h"

namespace epitaxy {

namespace {

struct CpuConv2d final : Prepared {
  std::optional<WinogradConv2d> winograd;
  std::size_t joined = 0, bytes = 0;  // workspace: both inputs side by side, then the convolution's
#if EPITAXY_HAS_ONEDNN
  std::unique_ptr<OnednnConv2d> direct;
#endif

  /// The convolution of one image, with bias, residual and ReLU.
  void run_one(const Conv2dArgs& args, std::byte* workspace) const {
    const Conv2dProblem& d = args.problem;
    if (winograd && winograd->run(args, reinterpret_cast<float*>(workspace))) {
      if (d.residual) {
        float* y = static_cast<float*>(args.result);
        add_residual(y, args.residual, y, d.output_pixels() * d.k, d.dtype, d.activation == Activation::relu);
      }
      return;
    }
#if EPITAXY_HAS_ONEDNN
    if (direct) return direct->run(args, workspace);
#endif
    conv2d<Reference>(args, {});
  }
};

/// The problem over both inputs side by side; statistics follow on their own.
Conv2dProblem one_image(Conv2dProblem d) {
  d.second = 0;
  d.statistics = false;
  return d;
}

}  // namespace

std::shared_ptr<Prepared> cpu_prepare_conv2d(Conv2dPass pass, const Conv2dProblem& problem) {
  pin_cpu_threads();
  const Conv2dProblem d = one_image(problem);
  auto made = std::make_shared<CpuConv2d>();
  if (WinogradConv2d::suits(pass, d)) {
    Conv2dProblem sum = d;  // the residual comes before ReLU
    if (d.residual) sum.activation = Activation::none;
    made->winograd.emplace(pass, sum, cpu_threads());
    made->bytes = made->winograd->workspace_bytes();
  }
  bool fast = made->winograd.has_value();
#if EPITAXY_HAS_ONEDNN
  made->direct = OnednnConv2d::make(pass, d);
  if (made->direct) made->bytes = std::max(made->bytes, made->direct->workspace_bytes()), fast = true;
#endif
  if (!fast) return nullptr;
  if (problem.second) made->joined = (static_cast<std::size_t>(d.n * d.h * d.w * d.c) * size_of(d.dtype) + 63) / 64 * 64;
  made->bytes += made->joined;
  return made;
}

std::size_t cpu_conv2d_workspace_bytes(const Prepared& prepared) { return static_cast<const CpuConv2d&>(prepared).bytes; }

void cpu_run_conv2d(Prepared& prepared, const Conv2dArgs& args, void* workspace) {
  const auto& self = static_cast<CpuConv2d&>(prepared);
  const Conv2dProblem& d = args.problem;
  const std::int64_t pixels = d.n * d.h * d.w;
  const bool to_image = args.pass == Conv2dPass::input_gradient;
  Conv2dArgs one = args;
  one.problem = one_image(d);
  if (d.second) {
    if (to_image)
      one.result = workspace;
    else
      join_channels(args.x, args.x2, workspace, pixels, d.first(), d.second, d.dtype), one.x = workspace;
  }
  self.run_one(one, static_cast<std::byte*>(workspace) + self.joined);
  if (d.second && to_image) part_channels(workspace, args.result, args.result2, pixels, d.first(), d.second, d.dtype);
  if (d.statistics) tile_statistics(args.result, args.statistics, d.output_pixels(), d.k, d.dtype);
}

}  // namespace epitaxy
