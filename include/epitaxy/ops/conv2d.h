// 2-D convolution (cross-correlation, as in PyTorch) with zero or periodic padding per axis, over one image or two whose channels lie
// side by side, with an epilogue: bias, residual, ReLU, and the statistics that batch normalisation starts from.
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
  bool residual = false;             // a last input of y's spec is added before the activation
  bool statistics = false;           // a second output: see conv2d()
  std::int64_t second_channels = 0;  // > 0: x's last channels come from a second input; one group only
};

/// Pixels of one tile of conv2d's statistics.
inline constexpr std::int64_t kConv2dStatisticsPixels = 128;

/// (x [N,H,W,C], w [K,R,S,C/groups] of x's dtype, optional bias fp32 [K]) -> y [N,P,Q,K] = activation(conv(x, w) + bias),
/// P = (H + top + bottom - dilation*(R-1) - 1) / stride + 1, rounded once from fp32 accumulation.
///   second_channels C2: inputs (x [N,H,W,C1], x2 [N,H,W,C2], w [K,R,S,C1+C2], ...): the convolution of both side by side.
///   residual: the last input is r [N,P,Q,K] of x's dtype; y = activation(conv(x, w) + bias + r).
///   statistics: a second output fp32 [ceil(N*P*Q / 128), 2, K]: mean and sum of squared deviations of each 128 consecutive pixels of the
///   stored y, as batch_norm_statistics gives them; the last tile may be shorter. It has no gradient: batch_norm_apply's rule holds it.
OperationPtr conv2d(const Conv2dOptions& options);
/// (dy [N,P,Q,K], w) -> dx [N,height,width,C] of dy's dtype, or (dx, dx2) with second_channels. The epilogue is not part of it.
OperationPtr conv2d_input_gradient(const Conv2dOptions& options, std::int64_t height, std::int64_t width);
/// (x, dy), or (x, x2, dy) -> dw fp32 [K,rows,columns,C/groups]. Deterministic.
OperationPtr conv2d_filter_gradient(const Conv2dOptions& options, std::int64_t rows, std::int64_t columns);
/// The options of an operation that conv2d() made; null for any other. For fusion.
const Conv2dOptions* conv2d_options(const Operation& operation);

}  // namespace epitaxy
