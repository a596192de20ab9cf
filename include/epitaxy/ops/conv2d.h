// 2-D convolution (cross-correlation, as in PyTorch) with zero or periodic padding per axis.
#pragma once

#include <array>

#include "epitaxy/ops/activation.h"

namespace epitaxy {

/// What lies outside the image: zeros, or the image again (periodic; wraps more than once where the padding exceeds the size).
enum class PaddingMode : std::uint8_t { zeros, periodic };

struct Conv2dOptions {
  std::array<std::int64_t, 2> stride{1, 1};                                         // vertical, horizontal; >= 1
  std::array<std::int64_t, 2> dilation{1, 1};                                       // >= 1
  std::array<std::int64_t, 4> padding{0, 0, 0, 0};                                  // top, bottom, left, right; >= 0
  std::array<PaddingMode, 2> padding_mode{PaddingMode::zeros, PaddingMode::zeros};  // vertical, horizontal
  std::int64_t groups = 1;                                                          // divides C and K
  Activation activation = Activation::none;                                         // epilogue: relu or none
  bool tf32 = false;                                                                // fp32 data: round products' factors to tf32
};

/// (x [N,H,W,C], w [K,R,S,C/groups] of x's dtype, optional bias fp32 [K]) -> y [N,P,Q,K] = activation(conv(x, w) + bias),
/// P = (H + top + bottom - dilation*(R-1) - 1) / stride + 1, rounded once from fp32 accumulation.
OperationPtr conv2d(const Conv2dOptions& options);
/// (dy [N,P,Q,K], w) -> dx [N,height,width,C] of dy's dtype. The epilogue is not part of it.
OperationPtr conv2d_input_gradient(const Conv2dOptions& options, std::int64_t height, std::int64_t width);
/// (x, dy) -> dw fp32 [K,rows,columns,C/groups]. Deterministic.
OperationPtr conv2d_filter_gradient(const Conv2dOptions& options, std::int64_t rows, std::int64_t columns);

}  // namespace epitaxy
