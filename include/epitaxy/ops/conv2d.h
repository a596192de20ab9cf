// 2-D convolution (cross-correlation, as in PyTorch) with zero or periodic padding per axis, over one image or two whose channels lie
// side by side, with an epilogue: bias, residual, ReLU, and the statistics that batch normalisation starts from.
#pragma once

#include <array>
#include <optional>

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

/// How an input gradient knows where the ReLU that x came from was open.
enum class ReluMask : std::uint8_t {
  none,        // there was none
  output,      // from x: open where x > 0
  bits,        // from batch_norm_apply's mask
  recomputed,  // from batch normalisation's input, as batch_norm_reduce does
};

/// What an input gradient goes on to in the same pass: the backward pass of what x came from.
struct Conv2dGradientEpilogue {
  bool add = false;                // the gradient that x has from its other readers is added
  ReluMask mask = ReluMask::none;  // then 0 where the ReLU was closed
  bool reductions = false;         // a second output: the sums that batch normalisation's backward pass starts from
  bool operator==(const Conv2dGradientEpilogue&) const = default;
};

/// Pixels of one tile of conv2d's statistics, and of its input gradient's reductions.
inline constexpr std::int64_t kConv2dStatisticsPixels = 128;

/// (x [N,H,W,C], w [K,R,S,C/groups] of x's dtype, optional bias fp32 [K]) -> y [N,P,Q,K] = activation(conv(x, w) + bias),
/// P = (H + top + bottom - dilation*(R-1) - 1) / stride + 1, rounded once from fp32 accumulation.
///   second_channels C2: inputs (x [N,H,W,C1], x2 [N,H,W,C2], w [K,R,S,C1+C2], ...): the convolution of both side by side.
///   residual: the last input is r [N,P,Q,K] of x's dtype; y = activation(conv(x, w) + bias + r).
///   statistics: a second output fp32 [ceil(N*P*Q / 128), 2, K]: mean and sum of squared deviations of each 128 consecutive pixels of the
///   stored y, as batch_norm_statistics gives them; the last tile may be shorter. It has no gradient: batch_norm_apply's rule holds it.
OperationPtr conv2d(const Conv2dOptions& options);
/// (dy [N,P,Q,K], w) -> dx [N,height,width,C] of dy's dtype, or (dx, dx2) with second_channels. The options' epilogue is not part of it.
/// An epilogue of its own, for one image: (dy, w[, other][, mask][, v, mean, inverse_std[, gamma, beta]]) -> (dx[, partials]),
/// dx = mask * (gradient + other), rounded once.
///   add: other [N,height,width,C] of dx's dtype.
///   mask: x, or batch_norm_apply's mask uint8 [N,height,width,ceil(C/8)], or none for `recomputed`, which takes reductions.
///   reductions: v [N,height,width,C], which batch normalisation read, with its mean and inverse_std (fp32 [C]), and gamma and beta for a
///   recomputed mask. partials fp32 [ceil(N*height*width / 128), 2, C]: sums of dx * (v - mean) * inverse_std and of dx, as stored, over
///   each 128 consecutive pixels, for batch_norm_reduce_tiles.
OperationPtr conv2d_input_gradient(const Conv2dOptions& options, std::int64_t height, std::int64_t width,
                                   const Conv2dGradientEpilogue& epilogue = {});
/// (x, dy), or (x, x2, dy) -> dw fp32 [K,rows,columns,C/groups]. Deterministic.
OperationPtr conv2d_filter_gradient(const Conv2dOptions& options, std::int64_t rows, std::int64_t columns);
/// The options of an operation that conv2d() made; null for any other. For fusion.
const Conv2dOptions* conv2d_options(const Operation& operation);
struct Conv2dInputGradientOptions {
  Conv2dOptions conv;
  std::int64_t height = 0, width = 0;
  Conv2dGradientEpilogue epilogue;
};
/// What an operation that conv2d_input_gradient() made was given; nothing for any other.
std::optional<Conv2dInputGradientOptions> conv2d_input_gradient_options(const Operation& operation);

}  // namespace epitaxy
