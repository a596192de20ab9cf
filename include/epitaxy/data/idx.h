// IDX files (the MNIST format): magic 0 0 <type> <rank>, big-endian sizes, values; plain or gzip-compressed (told apart by content).
#pragma once

#include <string>

#include "epitaxy/tensor.h"

namespace epitaxy {

/// The values with the shape of the file. Types: 0x08 uint8; 0x0B int16, read as uint16 (negative values are an Error); 0x0C int32;
/// 0x0D fp32. One clear Error for a file that is truncated, has bytes left over, or has sizes that disagree with its length.
Tensor read_idx(const std::string& path);

/// Writes uint8, int32 or fp32 (not compressed) under a temporary name that is then renamed.
void write_idx(const std::string& path, const Tensor& values);

}  // namespace epitaxy
