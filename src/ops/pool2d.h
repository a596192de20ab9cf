// What operations over image windows share.
#pragma once

#include <string>

#include "epitaxy/ops/pool2d.h"
#include "kernels/pool2d.h"

namespace epitaxy {

/// Options that fit an image x, as the launchers want them; rejects others in the operation's name.
PoolShape pool_shape(const char* operation, const Pool2dOptions& options, const Shape& image);
/// Rejects options that fit no image; `indexed`: a window's elements are numbered by uint8.
void check_pool_options(const char* operation, const Pool2dOptions& options, bool indexed);
/// "3x3 stride 2x2 padding 1,1,1,1"
std::string describe_pool(const Pool2dOptions& options);

}  // namespace epitaxy
