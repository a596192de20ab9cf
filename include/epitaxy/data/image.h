// One image from a file. Depth is kept: 8-bit files give uint8, 16-bit files uint16, floating-point TIFF gives fp32.
#pragma once

#include <cstdint>
#include <string>

#include "epitaxy/tensor.h"

namespace epitaxy {

struct Image {
  Tensor pixels;           // [H, W, C], C = 1 (gray) or 3 (red, green, blue); on cpu
  std::int64_t pages = 1;  // images in the file, of which the first is read (TIFF)
};

/// Reads PNG, JPEG, BMP or TIFF, told apart by their first bytes. Every reader gives one clear Error (naming the file and a remedy) for a
/// file that is missing, truncated, damaged, of an unsupported kind, or whose header asks for more than the file can hold or memory gives.
/// A palette image becomes gray where it uses gray entries alone, else RGB. An opaque alpha channel is dropped; a transparent one is an
/// Error.
Image read_image(const std::string& path);

Image read_png(const std::string& path);   // 1, 2, 4, 8, 16 bit; gray, RGB, palette; no gamma or colour correction
Image read_jpeg(const std::string& path);  // gray and colour (as RGB)
Image read_bmp(const std::string& path);   // uncompressed: 1, 4, 8 bit palette, 24 and 32 bit
Image read_tiff(const std::string& path);  // 8 and 16 bit, int32 (as fp32, where exact) and fp32; gray, RGB, palette; strips or tiles

/// Writes [H, W, C] uint8 or uint16 with C = 1 or 3, under a temporary name that is then renamed: nobody sees half a file.
void write_png(const std::string& path, const Tensor& pixels);

}  // namespace epitaxy
