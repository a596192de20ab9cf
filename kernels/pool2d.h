// Launchers of max, average and global average pooling over NHWC images.
#pragma once

#include <algorithm>
#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/host_device.h"

namespace epitaxy {

/// Sizes of one pooling: x [n, h, w, c], y [n, p, q, c], window r x s.
struct PoolShape {
  std::int64_t n, h, w, c, p, q;
  int r, s, stride_h, stride_w, pad_top, pad_left;

  /// Rows of x under output row `row`: [first, first + r) cut to the image.
  EPITAXY_HOST_DEVICE std::int64_t row_start(std::int64_t row) const { return row * stride_h - pad_top; }
  EPITAXY_HOST_DEVICE std::int64_t column_start(std::int64_t column) const { return column * stride_w - pad_left; }
};

/// Output windows that cover input position `at`: [first, last).
struct PoolRange {
  int first, last;
};
EPITAXY_HOST_DEVICE inline PoolRange pool_windows(std::int64_t at, int pad, int kernel, int stride, std::int64_t outputs) {
  const unsigned reach = static_cast<unsigned>(at + pad);  // >= 0
  const unsigned width = static_cast<unsigned>(kernel), step = static_cast<unsigned>(stride);
  const unsigned first = reach < width ? 0 : (reach - width) / step + 1, last = reach / step + 1, most = static_cast<unsigned>(outputs);
  return {static_cast<int>(first), static_cast<int>(last < most ? last : most)};
}

struct Pool2dArgs {
  const void* from;     // x forward, dy backward
  void* to;             // y forward, dx backward
  std::uint8_t* index;  // max pooling: written forward, read backward
  PoolShape shape;
  DType dtype;
  bool exclude_padding;                                   // average pooling
  std::int64_t items_per_launch = std::int64_t{1} << 30;  // threads of one launch, so that indices within it fit 32 bits
};

struct GlobalPoolArgs {
  const void* from;  // x [n, pixels, c] forward, dy [n, c] backward
  void* to;          // y [n, c] forward, dx [n, pixels, c] backward
  std::int64_t n, pixels, c;
  DType dtype;
};

template <class World>
void max_pool2d_forward(const Pool2dArgs& args, Stream stream);
template <class World>
void max_pool2d_backward(const Pool2dArgs& args, Stream stream);
template <class World>
void average_pool2d_forward(const Pool2dArgs& args, Stream stream);
template <class World>
void average_pool2d_backward(const Pool2dArgs& args, Stream stream);
template <class World>
void global_average_pool_forward(const GlobalPoolArgs& args, Stream stream);
template <class World>
void global_average_pool_backward(const GlobalPoolArgs& args, Stream stream);

}  // namespace epitaxy
