// Transposed convolution whose kernel is its stride: every pixel becomes a patch of R x S pixels (the upsampling of a U-Net).
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

struct ConvTranspose2dOptions {
  bool tf32 = false;  // fp32 data: round products' factors to tf32
};

/// (x [N,H,W,C], w [C,R,S,K] of x's dtype, optional bias fp32 [K]) -> y [N, H*R, W*S, K]:
/// y[n, h*R + r, w*S + s, k] = sum_c x[n,h,w,c] w[c,r,s,k] + bias[k], as PyTorch's ConvTranspose2d with kernel_size = stride = (R, S),
/// whose weight is [C,K,R,S]. It is the input gradient of a convolution with stride (R, S) whose filter is w, and runs as such: one product
/// for each (r, s). On a GPU the bias is added by a second pass, so that a 16-bit y is rounded twice. Its gradients are that convolution
/// (dx), its filter gradient (dw fp32 [C,R,S,K]) and channel_sum (dbias).
OperationPtr conv_transpose2d(const ConvTranspose2dOptions& options = {});

}  // namespace epitaxy
