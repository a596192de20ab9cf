// Windows bitmaps: BITMAPINFOHEADER and its successors, uncompressed (MS-WMF 2.2.2.3 names the fields).
#include <cstdlib>
#include <vector>

#include "epitaxy/data/image.h"
#include "file.h"

namespace epitaxy {

namespace {
std::uint32_t little32(const std::uint8_t* p) {
  return p[0] | (std::uint32_t{p[1]} << 8) | (std::uint32_t{p[2]} << 16) | (std::uint32_t{p[3]} << 24);
}
std::uint32_t little16(const std::uint8_t* p) { return p[0] | (std::uint32_t{p[1]} << 8); }
}  // namespace

Image read_bmp(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_bytes(path);
  if (bytes.size() < 2 || bytes[0] != 'B' || bytes[1] != 'M') reject("'", path, "' is not a BMP file");
  if (bytes.size() < 54) fail("'", path, "' is truncated: no BMP header; replace the file");
  const std::uint64_t start = little32(&bytes[10]), header = little32(&bytes[14]);
  if (header < 40 || header > bytes.size() - 14) reject("'", path, "' has an unsupported BMP header of ", header, " bytes; save it as PNG");
  const auto width = static_cast<std::int32_t>(little32(&bytes[18])), height = static_cast<std::int32_t>(little32(&bytes[22]));
  const std::uint32_t bits = little16(&bytes[28]), compression = little32(&bytes[30]);
  if (compression != 0) reject("'", path, "' is a compressed BMP (method ", compression, "); save it as PNG");
  if (bits != 1 && bits != 4 && bits != 8 && bits != 24 && bits != 32) reject("'", path, "' has ", bits, " bits per pixel; save it as PNG");
  const std::uint64_t columns = width > 0 ? static_cast<std::uint64_t>(width) : 0;
  const std::uint64_t rows = static_cast<std::uint64_t>(std::llabs(static_cast<long long>(height)));
  check_claim(path, columns, rows, 1, bytes.size(), 8);
  const std::uint64_t row_bytes = (columns * bits + 31) / 32 * 4;
  if (start < 14 + header || start > bytes.size() || row_bytes * rows > bytes.size() - start)
    fail("'", path, "' is truncated: ", columns, " x ", rows, " pixels at ", bits, " bits need ", start + row_bytes * rows,
         " bytes, the file has ", bytes.size(), "; replace the file");

  // A palette holds blue, green, red and a spare byte per entry; indices beyond its end are damage.
  const std::uint8_t* palette = &bytes[14] + header;
  std::uint64_t entries = 0;
  if (bits <= 8) {
    entries = little32(&bytes[46]) ? little32(&bytes[46]) : 1u << bits;
    if (entries > (1u << bits) || 14 + header + 4 * entries > bytes.size()) fail("'", path, "' has a damaged palette; replace the file");
  }
  Tensor pixels = allocate_host({DType::uint8, {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), 3}}, path);
  auto* to = pixels.as<std::uint8_t>();
  for (std::uint64_t y = 0; y < rows; ++y) {
    const std::uint8_t* row = &bytes[start] + (height > 0 ? rows - 1 - y : y) * row_bytes;  // positive height: bottom row first
    for (std::uint64_t x = 0; x < columns; ++x) {
      const std::uint8_t* color = row + x * bits / 8;
      if (bits <= 8) {
        const std::uint64_t index = (*color >> (8 - bits - x * bits % 8)) & ((1u << bits) - 1);
        if (index >= entries) fail("'", path, "' is damaged: colour ", index, " of a palette of ", entries, "; replace the file");
        color = palette + 4 * index;
      }
      for (const int c : {2, 1, 0}) *to++ = color[c];
    }
  }
  return {bits <= 8 ? gray_where_equal(pixels) : pixels, 1};
}

}  // namespace epitaxy
