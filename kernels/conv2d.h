// Convolution launchers: one problem description for every world and pass, and the choice of path, tile and split.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/ops/conv2d.h"

namespace epitaxy {

enum class Conv2dPass : std::uint8_t { forward, input_gradient, filter_gradient };

/// Everything about a convolution but its pointers. x [n,h,w,c - second] and x2 [n,h,w,second], filter [k,r,s,c/groups], y [n,p,q,k].
struct Conv2dProblem {
  std::int64_t n, h, w, c, k, r, s, p, q;
  std::array<std::int64_t, 2> stride, dilation;  // vertical, horizontal
  std::array<std::int64_t, 4> padding;           // top, bottom, left, right
  std::array<PaddingMode, 2> padding_mode;
  std::int64_t groups;
  DType dtype;                     // of x, filter, y and their gradients; the filter gradient is fp32
  bool tf32;                       // fp32 data: round factors to tf32
  bool bias;                       // forward; input gradient: of a transposed convolution
  Activation activation;           // forward only: none or relu
  std::int64_t second = 0;         // of the c channels, the last that a second image holds; 0: one image
  bool residual = false;           // added to the result: the forward pass's residual, or the other gradient of x
  bool statistics = false;         // forward: moments of y; input gradient: batch normalisation's reductions
  ReluMask mask = ReluMask::none;  // input gradient only
  bool operator==(const Conv2dProblem&) const = default;

  std::int64_t group_inputs() const { return c / groups; }
  std::int64_t group_outputs() const { return k / groups; }
  std::int64_t output_pixels() const { return n * p * q; }
  std::int64_t image_pixels() const { return n * h * w; }
  static std::int64_t statistics_tiles(std::int64_t pixels) { return (pixels + kConv2dStatisticsPixels - 1) / kConv2dStatisticsPixels; }
  std::int64_t first() const { return c - second; }  // channels of the first image
};

/// simt: fused multiply-adds, strict fp32. mma: tensor cores (bf16, fp16, tf32) with fp32 accumulation. wgmma: the same on sm_90a.
/// first: images of one to four channels, whose windows are cut from shared memory. depthwise: one channel a group.
enum class Conv2dPath : std::uint8_t { simt, mma, wgmma, first, depthwise };
/// Rows x columns of the result that one block computes; from m256n64 on wgmma alone. strips: the taps of a filter row share one load.
enum class Conv2dTile : std::uint8_t { m128n128, m128n64, m64n64, m256n64, m256n128, m128n256, m256n64_strips, m256n128_strips };

struct Conv2dPlan {
  Conv2dPath path = Conv2dPath::simt;
  Conv2dTile tile = Conv2dTile::m64n64;
  bool vector = false;  // 16-byte loads; else one element at a time, for channel counts that are not a multiple of 16 bytes
  int splits = 1;       // filter gradient: parts of the sum over pixels, added in a fixed order
  bool operator==(const Conv2dPlan&) const = default;
};

/// The plan for a GPU; pure. A split count depends on shape and profile only, so a result does too.
Conv2dPlan choose(Conv2dPass pass, const Conv2dProblem& problem, const DeviceProfile& profile);
/// Whether there is a kernel for this plan; choose() answers only such plans, tests force any of them.
bool is_supported(Conv2dPass pass, const Conv2dProblem& problem, const Conv2dPlan& plan);
/// What a tuner may try: choose()'s plan first, then every other supported plan that might be faster. Pure; each is deterministic.
std::vector<Conv2dPlan> candidates(Conv2dPass pass, const Conv2dProblem& problem, const DeviceProfile& profile);
/// Scratch of a plan: the filter gradient's partial sums.
std::size_t conv2d_workspace_bytes(Conv2dPass pass, const Conv2dProblem& problem, const Conv2dPlan& plan);

struct Conv2dArgs {
  Conv2dPass pass;
  Conv2dProblem problem;
  const void* x = nullptr;           // forward, filter gradient
  const void* x2 = nullptr;          // as x, where problem.second
  const void* filter = nullptr;      // forward, input gradient
  const void* dy = nullptr;          // gradients
  const float* bias = nullptr;       // of the result's channels, where problem.bias
  const void* residual = nullptr;    // as the result, where problem.residual
  const void* mask = nullptr;        // input gradient: x, or its ReLU's bits
  const void* normalised = nullptr;  // input gradient, where problem.statistics: what batch normalisation read, and its constants
  const float *mean = nullptr, *inverse_std = nullptr;
  const float *gamma = nullptr, *beta = nullptr;  // where the mask is recomputed
  void* result = nullptr;                         // y, dx or dw
  void* result2 = nullptr;                        // dx2, where problem.second
  float* statistics = nullptr;                    // [tiles, 2, k or c], where problem.statistics
  Conv2dPlan plan{};                              // GPU worlds
  float* workspace = nullptr;                     // GPU worlds: conv2d_workspace_bytes
};

/// Runs args.pass.
template <class World>
void conv2d(const Conv2dArgs& args, Stream stream);

}  // namespace epitaxy
