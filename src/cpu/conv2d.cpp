// Which fast convolution runs: our Winograd kernels where they apply, else oneDNN's direct ones.
#include "cpu/conv2d.h"

#include <optional>

#include "cpu/conv2d_onednn.h"
#include "cpu/conv2d_winograd.h"
#include "cpu/threads.h"

namespace epitaxy {

namespace {

struct CpuConv2d final : Prepared {
  std::optional<WinogradConv2d> winograd;
  std::size_t bytes = 0;
#if EPITAXY_HAS_ONEDNN
  std::unique_ptr<OnednnConv2d> direct;
#endif
};

}  // namespace

std::shared_ptr<Prepared> cpu_prepare_conv2d(Conv2dPass pass, const Conv2dProblem& problem) {
  if (problem.second || problem.residual || problem.statistics) return nullptr;
  pin_cpu_threads();
  auto made = std::make_shared<CpuConv2d>();
  if (WinogradConv2d::suits(pass, problem)) {
    made->winograd.emplace(pass, problem, cpu_threads());
    made->bytes = made->winograd->workspace_bytes();
  }
#if EPITAXY_HAS_ONEDNN
  made->direct = OnednnConv2d::make(pass, problem);
  if (made->direct) made->bytes = std::max(made->bytes, made->direct->workspace_bytes());
  if (made->direct) return made;
#endif
  return made->winograd ? made : nullptr;
}

std::size_t cpu_conv2d_workspace_bytes(const Prepared& prepared) { return static_cast<const CpuConv2d&>(prepared).bytes; }

void cpu_run_conv2d(Prepared& prepared, const Conv2dArgs& args, void* workspace) {
  auto& self = static_cast<CpuConv2d&>(prepared);
  if (self.winograd && self.winograd->run(args, static_cast<float*>(workspace))) return;
#if EPITAXY_HAS_ONEDNN
  if (self.direct) return self.direct->run(args, static_cast<std::byte*>(workspace));
#endif
  conv2d<Reference>(args, {});
}

}  // namespace epitaxy
