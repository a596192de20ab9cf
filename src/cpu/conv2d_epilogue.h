// What follows a fast convolution on the CPU, and how two inputs become one.
#pragma once

#include "kernels/conv2d.h"

namespace epitaxy {

/// y = sum + residual, with ReLU where asked, rounded to dtype; all [count]. y may be sum.
void add_residual(const float* sum, const void* residual, void* y, std::int64_t count, DType dtype, bool relu);
/// The statistics of conv2d() from y [pixels, channels]: the same bits for any number of threads.
void tile_statistics(const void* y, float* statistics, std::int64_t pixels, std::int64_t channels, DType dtype);
/// [pixels, a] and [pixels, b] elements side by side, and apart again.
void join_channels(const void* first, const void* second, void* both, std::int64_t pixels, std::int64_t a, std::int64_t b, DType dtype);
void part_channels(const void* both, void* first, void* second, std::int64_t pixels, std::int64_t a, std::int64_t b, DType dtype);

}  // namespace epitaxy
