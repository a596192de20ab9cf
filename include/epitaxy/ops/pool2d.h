// Pooling over image windows.
#pragma once

#include <array>

#include "epitaxy/ops/operation.h"

namespace epitaxy {

struct Pool2dOptions {
  std::array<std::int64_t, 2> kernel{2, 2};  // rows, columns; for the maximum at most 256 elements, which uint8 numbers
  std::array<std::int64_t, 2> stride{2, 2};
  std::array<std::int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right; each less than the kernel; never chosen by the maximum
};

/// x [N,H,W,C] -> (y [N,P,Q,C], index uint8 [N,P,Q,C]: tap r*columns+s of the maximum, the first of equals; NaN wins).
OperationPtr max_pool2d(const Pool2dOptions& options);
/// The options of an operation that max_pool2d() made; null for any other. For fusion.
const Pool2dOptions* max_pool2d_options(const Operation& operation);
/// (dy, index) -> dx [N,height,width,C], gathered: every dx element sums its windows in fixed order.
OperationPtr max_pool2d_gradient(const Pool2dOptions& options, std::int64_t height, std::int64_t width);
/// x -> y, the mean of each window; padding counts as zeros (PyTorch's count_include_pad=True) unless `exclude_padding`.
OperationPtr average_pool2d(const Pool2dOptions& options, bool exclude_padding = false);
OperationPtr average_pool2d_gradient(const Pool2dOptions& options, std::int64_t height, std::int64_t width, bool exclude_padding = false);
/// x [N,H,W,C] -> [N,C], the mean over H*W in fp32.
OperationPtr global_average_pool();
/// dy [N,C] -> dx [N,height,width,C].
OperationPtr global_average_pool_gradient(std::int64_t height, std::int64_t width);

}  // namespace epitaxy
