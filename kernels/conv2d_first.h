// Sizes of the first-layer kernels (few input channels): how the reduction over (row, column, channel) of the filter is padded, and what
// lies in shared memory.
#pragma once

#include <algorithm>

#include "kernels/conv2d.h"

namespace epitaxy {

inline constexpr std::int64_t kConv2dFirstChannels = 4;  // at most
/// Pixels that a block takes at a time.
inline constexpr std::int64_t kConv2dFirstPixels = 128, kConv2dFirstGradientPixels = 64;

inline std::int64_t conv2d_first_length(const Conv2dProblem& d) { return d.r * d.s * d.c; }

/// Elements of the padded reduction that are multiplied at a time.
inline std::int64_t conv2d_first_depth(const Conv2dProblem& d, Conv2dPass pass) {
  const std::int64_t length = conv2d_first_length(d), most = d.dtype == DType::fp32 && pass == Conv2dPass::forward ? 32 : 64;
  if (pass == Conv2dPass::filter_gradient && d.dtype == DType::fp32 && !d.tf32) return 64;
  return length <= 16 ? 16 : length <= 32 ? 32 : most;
}

/// Columns of the patch in shared memory: for every filter row, the image's columns that `count` consecutive output pixels read. Each
/// output row among them has columns of its own, with the window's overhang.
inline std::int64_t conv2d_first_patch_columns(const Conv2dProblem& d, std::int64_t count) {
  const std::int64_t extent = (d.s - 1) * d.dilation[1] + 1, lines = (count + d.q - 2) / d.q + 1;
  return count * d.stride[1] + lines * std::max<std::int64_t>(0, extent - d.stride[1]);
}

/// Shared memory of a block: the tiles of both factors, the patch, the table of offsets.
inline std::size_t conv2d_first_shared_bytes(const Conv2dProblem& d, Conv2dPass pass) {
  const bool forward = pass == Conv2dPass::forward;
  const std::int64_t size = static_cast<std::int64_t>(size_of(d.dtype)), depth = conv2d_first_depth(d, pass);
  const std::int64_t chunks = forward ? (conv2d_first_length(d) + depth - 1) / depth : 1;
  const std::int64_t count = forward ? kConv2dFirstPixels : kConv2dFirstGradientPixels;
  const std::int64_t tiles =
      forward ? (count + 64 * chunks) * (depth * size + 16) : 2 * count * (64 + 8) * size + count * (depth + 8) * size;
  const std::int64_t patch = (d.r * conv2d_first_patch_columns(d, count) * d.c * size + 15) / 16 * 16;
  return static_cast<std::size_t>(tiles + patch + chunks * depth * static_cast<std::int64_t>(sizeof(int)));
}

/// Whether the kernels take the problem.
inline bool conv2d_first_supports(Conv2dPass pass, const Conv2dProblem& d) {
  constexpr std::size_t kMostShared = 96 * 1024;
  if (pass == Conv2dPass::input_gradient || d.groups != 1 || d.second || d.c > kConv2dFirstChannels) return false;
  if (pass == Conv2dPass::filter_gradient && d.k % static_cast<std::int64_t>(16 / size_of(d.dtype))) return false;
  return conv2d_first_length(d) <= 512 && conv2d_first_shared_bytes(d, pass) <= kMostShared;
}

}  // namespace epitaxy
