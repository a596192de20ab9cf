// Convolution on Hopper's tensor cores (sm_90a): TMA brings windows of pixels (im2col) and filters, wgmma multiplies.
#pragma once

#include <numeric>
#include <vector>

#include "kernels/conv2d.h"

namespace epitaxy {

/// One axis of the walk that TMA's im2col mode makes over an image: the result's pixel i reads source pixels
/// lower + i * stride + offset, one for each tap; what lies outside the source is zero.
struct Conv2dAxis {
  int pixels;               // of the result along this axis
  int taps;                 // filter lines that reach it; 0: the result is zero
  int tap, tap_step;        // index of the first in the filter, and what each further adds
  int offset, offset_step;  // of the first tap's source pixel, and what each further adds; offsets are never negative
  int lower, upper;         // corners of the box that the windows' first pixels walk, the upper one counted from the source's end
  int stride;
};

/// The axis (0 vertical, 1 horizontal) of the forward pass, whose source is x; also the filter gradient's walk over x.
inline Conv2dAxis conv2d_forward_axis(const Conv2dProblem& d, std::size_t axis) {
  const auto i32 = [](std::int64_t v) { return static_cast<int>(v); };
  const std::int64_t taps = axis == 0 ? d.r : d.s, before = d.padding[2 * axis], after = d.padding[2 * axis + 1];
  return {i32(axis == 0 ? d.p : d.q), i32(taps), 0, 1, 0, i32(d.dilation[axis]), i32(-before), i32(after - (taps - 1) * d.dilation[axis]),
          i32(d.stride[axis])};
}

/// Of the input gradient, whose source is dy, for the pixels residue, residue + stride, ... of dx: tap r reaches those for which
/// (residue + padding - r * dilation) is a multiple of the stride, from dy's pixel i + that / stride.
inline Conv2dAxis conv2d_gradient_axis(const Conv2dProblem& d, std::size_t axis, std::int64_t residue) {
  const auto i32 = [](std::int64_t v) { return static_cast<int>(v); };
  const std::int64_t size = axis == 0 ? d.h : d.w, source = axis == 0 ? d.p : d.q, filter = axis == 0 ? d.r : d.s;
  const std::int64_t stride = d.stride[axis], dilation = d.dilation[axis], step = stride / std::gcd(stride, dilation);
  const std::int64_t pixels = residue < size ? (size - residue + stride - 1) / stride : 0, at = residue + d.padding[2 * axis];
  std::int64_t tap = 0;
  while (tap < filter && tap < step && (at - tap * dilation) % stride != 0) ++tap;
  if (tap >= filter || tap >= step) return {i32(pixels), 0, 0, 0, 0, 0, 0, 0, 1};
  const std::int64_t taps = (filter - tap + step - 1) / step, between = step * dilation / stride;
  const std::int64_t lower = (at - (tap + (taps - 1) * step) * dilation) / stride;
  return {
      i32(pixels), i32(taps), i32(tap), i32(step), i32((taps - 1) * between), i32(-between), i32(lower), i32(lower + pixels - source), 1};
}

/// TMA pads with zeros, so periodic axes are written out into the workspace: the problem over such copies of x (input gradient: of dy,
/// whose pixels must be as many as x's, at stride 1). Equal to the problem where no padding is periodic.
inline Conv2dProblem conv2d_unrolled(Conv2dPass pass, Conv2dProblem d) {
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const std::int64_t padding = d.padding[2 * axis] + d.padding[2 * axis + 1];
    if (d.padding_mode[axis] != PaddingMode::periodic || padding == 0) continue;
    d.padding_mode[axis] = PaddingMode::zeros;
    if (pass == Conv2dPass::input_gradient) {
      (axis == 0 ? d.p : d.q) += padding;
      d.padding[2 * axis] = padding, d.padding[2 * axis + 1] = 0;
    } else {
      (axis == 0 ? d.h : d.w) += padding;
      d.padding[2 * axis] = d.padding[2 * axis + 1] = 0;
    }
  }
  return d;
}

/// What the parts of a split filter gradient take of the workspace, and after them a copy of an image of that many channels.
inline std::size_t conv2d_partial_bytes(Conv2dPass pass, const Conv2dProblem& d, const Conv2dPlan& plan) {
  if (pass != Conv2dPass::filter_gradient || plan.splits == 1) return 0;
  return (sizeof(float) * static_cast<std::size_t>(plan.splits * d.k * d.r * d.s * d.c) + 255) / 256 * 256;
}
inline std::size_t conv2d_unrolled_bytes(Conv2dPass pass, const Conv2dProblem& d, std::int64_t channels) {
  const Conv2dProblem wide = conv2d_unrolled(pass, d);
  if (wide == d) return 0;
  const std::int64_t pixels = d.n * (pass == Conv2dPass::input_gradient ? wide.p * wide.q : wide.h * wide.w);
  return (static_cast<std::size_t>(pixels * channels) * size_of(d.dtype) + 255) / 256 * 256;
}

/// A walk with room for a row of taps: the source pixels that the row reads lie side by side, so that one load brings them for all taps.
/// `pixels` then counts the last window's further source pixels too; those results are not stored.
inline Conv2dAxis conv2d_strip_axis(Conv2dAxis axis) {
  const int further = axis.offset + (axis.offset_step < 0 ? 0 : (axis.taps - 1) * axis.offset_step);
  axis.pixels += further, axis.upper += further;
  return axis;
}
inline constexpr int kConv2dStripPixels = 8;  // that a strip brings beyond the tile's

/// And of the transposed filter of tf32's input gradient.
inline std::size_t conv2d_transposed_bytes(Conv2dPass pass, const Conv2dProblem& d) {
  if (pass != Conv2dPass::input_gradient || d.dtype != DType::fp32) return 0;
  return (sizeof(float) * static_cast<std::size_t>(d.k * d.r * d.s * d.c) + 255) / 256 * 256;
}

/// Residues by the stride that the input gradient takes at most.
inline constexpr int kConv2dMostPhases = 4;

/// Whether these kernels take the problem: 16-bit data (but for the filter gradient also tf32), one group, channels in whole 16-byte units
/// and not too few, windows within TMA's limits; periodic padding in the input gradient only where dx and dy have one size. Pure.
bool conv2d_wgmma_supports(Conv2dPass pass, const Conv2dProblem& problem);
/// Tile and split count by a model of loads, products and stores; pure. The problem must be supported.
Conv2dPlan conv2d_wgmma_plan(Conv2dPass pass, const Conv2dProblem& problem, const DeviceProfile& profile);
/// The best plan of every tile, for a tuner; none where the problem is not supported.
std::vector<Conv2dPlan> conv2d_wgmma_candidates(Conv2dPass pass, const Conv2dProblem& problem, const DeviceProfile& profile);
/// Whether there is a kernel for a plan of this path.
bool conv2d_wgmma_is_supported(Conv2dPass pass, const Conv2dProblem& problem, const Conv2dPlan& plan);

/// Scratch of a plan of this path: partial sums or a transposed filter, then copies with periods.
inline std::size_t conv2d_wgmma_workspace_bytes(Conv2dPass pass, const Conv2dProblem& d, const Conv2dPlan& plan) {
  const std::size_t partial = conv2d_partial_bytes(pass, d, plan);
  if (pass == Conv2dPass::input_gradient) return conv2d_transposed_bytes(pass, d) + conv2d_unrolled_bytes(pass, d, d.k);
  return partial + conv2d_unrolled_bytes(pass, d, d.first()) + conv2d_unrolled_bytes(pass, d, d.second);
}

/// Run args.pass with the tile and splits of args.plan. A split filter gradient leaves its parts in the workspace, [splits][k][r][s][c].
template <class World>
void conv2d_wgmma_forward(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_wgmma_input_gradient(const Conv2dArgs& args, Stream stream);
/// Tiles `*_strips` of the forward pass and the input gradient.
template <class World>
void conv2d_wgmma_strips(const Conv2dArgs& args, Stream stream);
template <class World>
void conv2d_wgmma_filter_gradient(const Conv2dArgs& args, Stream stream);

}  // namespace epitaxy
