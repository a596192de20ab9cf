// 3x3 convolutions in fp32 by Winograd's F(2x2, 3x3) (Lavin & Gray 2016): 16 products where the direct sum takes 36.
//
// The transforms only add, subtract and halve, so small integers stay exact and rounding errors stay within a small factor of the direct
// sum's; that is why this form counts as strict fp32 here and F(4x4, 3x3), which divides by 24, is not used.
#pragma once

#include <cstddef>

#include "kernels/conv2d.h"

namespace epitaxy {

class WinogradConv2d {
 public:
  /// Whether this path computes the pass and is the fastest: fp32, 3x3, stride 1, one group, channels in multiples of 16, enough tiles;
  /// this processor has AVX-512.
  static bool suits(Conv2dPass pass, const Conv2dProblem& problem);
  /// For that number of threads.
  WinogradConv2d(Conv2dPass pass, const Conv2dProblem& problem, int threads);
  std::size_t workspace_bytes() const;
  /// False where a result is not finite: sums of infinities differ from the direct ones, which then have to be computed.
  bool run(const Conv2dArgs& args, float* workspace) const;

 private:
  bool run_convolution(const Conv2dArgs& args, float* workspace) const;
  bool run_filter_gradient(const Conv2dArgs& args, float* workspace) const;
  std::size_t thread_floats() const;

  [[maybe_unused]] Conv2dPass pass_;  // unused where the processor has no AVX-512
  [[maybe_unused]] Conv2dProblem problem_;
  [[maybe_unused]] int threads_;
};

}  // namespace epitaxy
