// TIFF through libtiff: the first image of the file, strips or tiles.
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>

#include "epitaxy/data/image.h"
#include "file.h"

#if EPITAXY_HAS_TIFF
#include <tiffio.h>
#endif

namespace epitaxy {

#if EPITAXY_HAS_TIFF

namespace {

thread_local char tiff_message[200];  // libtiff's error handler is global; each thread keeps its own first message

void on_tiff_error(const char*, const char* format, std::va_list arguments) {
  if (tiff_message[0] == 0) std::vsnprintf(tiff_message, sizeof(tiff_message), format, arguments);
}

[[noreturn]] void damaged(const std::string& path) {
  fail("'", path, "' is damaged or truncated: ", tiff_message[0] ? tiff_message : "libtiff cannot read it", "; replace the file");
}

struct Layout {
  std::uint32_t width = 0, height = 0;
  std::uint16_t bits = 1, samples = 1, format = SAMPLEFORMAT_UINT, planar = PLANARCONFIG_CONTIG, photometric = PHOTOMETRIC_MINISBLACK;
  std::uint16_t compression = COMPRESSION_NONE;
};

Layout read_layout(TIFF* tiff, const std::string& path) {
  Layout layout;
  if (!TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &layout.width) || !TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &layout.height)) damaged(path);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &layout.bits);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &layout.samples);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &layout.format);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &layout.planar);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &layout.compression);
  if (!TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &layout.photometric) && layout.samples >= 3) layout.photometric = PHOTOMETRIC_RGB;
  if (layout.format == SAMPLEFORMAT_VOID) layout.format = SAMPLEFORMAT_UINT;
  if (layout.photometric == PHOTOMETRIC_YCBCR && layout.compression == COMPRESSION_JPEG) {
    TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);  // libjpeg converts
    layout.photometric = PHOTOMETRIC_RGB;
  }
  return layout;
}

/// The samples as stored: [H, W, samples] of bits / 8 bytes each.
void read_samples(TIFF* tiff, const Layout& layout, std::byte* to, const std::string& path) {
  const std::size_t pixel_bytes = std::size_t{layout.samples} * layout.bits / 8;
  const std::size_t row_bytes = layout.width * pixel_bytes;
  if (!TIFFIsTiled(tiff)) {
    if (static_cast<std::size_t>(TIFFScanlineSize(tiff)) != row_bytes) damaged(path);
    for (std::uint32_t y = 0; y < layout.height; ++y)
      if (TIFFReadScanline(tiff, to + y * row_bytes, y, 0) != 1) damaged(path);
    return;
  }
  std::uint32_t tile_width = 0, tile_height = 0;
  TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tile_width);
  TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tile_height);
  constexpr std::uint32_t kLargestTile = 1u << 14;
  if (tile_width == 0 || tile_height == 0 || tile_width > kLargestTile || tile_height > kLargestTile) damaged(path);
  const std::size_t tile_row = tile_width * pixel_bytes;
  std::vector<std::byte> tile(tile_row * tile_height);
  if (static_cast<std::size_t>(TIFFTileSize(tiff)) != tile.size()) damaged(path);
  for (std::uint32_t y = 0; y < layout.height; y += tile_height)
    for (std::uint32_t x = 0; x < layout.width; x += tile_width) {
      if (TIFFReadTile(tiff, tile.data(), x, y, 0, 0) < 0) damaged(path);
      const std::uint32_t rows = std::min(tile_height, layout.height - y), columns = std::min(tile_width, layout.width - x);
      for (std::uint32_t r = 0; r < rows; ++r)
        std::memcpy(to + (y + r) * row_bytes + x * pixel_bytes, tile.data() + r * tile_row, columns * pixel_bytes);
    }
}

template <class T>
void invert(const Tensor& pixels) {
  for (T& value : pixels.span<T>()) value = static_cast<T>(~value);
}

template <class T>
Tensor widen(const std::byte* samples, const Shape& shape, const std::string& path) {
  Tensor wide = allocate_host({DType::fp32, shape}, path);
  float* to = wide.as<float>();
  for (std::int64_t i = 0; i < wide.count(); ++i) {
    T value;
    std::memcpy(&value, samples + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
    to[i] = static_cast<float>(value);
    if (static_cast<double>(to[i]) != static_cast<double>(value))
      fail("'", path, "' holds ", value, ", which fp32 cannot hold exactly; save it as 16-bit or floating point");
  }
  return wide;
}

Tensor apply_palette(TIFF* tiff, const Tensor& indices, const Layout& layout, const std::string& path) {
  std::uint16_t* table[3] = {};
  if (!TIFFGetField(tiff, TIFFTAG_COLORMAP, &table[0], &table[1], &table[2])) damaged(path);
  const std::size_t entries = std::size_t{1} << layout.bits;
  bool bytes_only = true;  // some writers store 0..255 in the 16-bit table
  for (std::size_t i = 0; i < entries; ++i)
    for (const auto* one : table) bytes_only = bytes_only && one[i] < 256;
  Tensor pixels = allocate_host({DType::uint8, {indices.dim(0), indices.dim(1), 3}}, path);
  auto* to = pixels.as<std::uint8_t>();
  for (const std::uint8_t index : indices.span<std::uint8_t>())
    for (const auto* one : table) *to++ = static_cast<std::uint8_t>(bytes_only ? one[index] : one[index] >> 8);
  return gray_where_equal(pixels);
}

}  // namespace

Image read_tiff(const std::string& path) {
  static std::once_flag once;
  std::call_once(once, [] {
    TIFFSetErrorHandler(on_tiff_error);
    TIFFSetWarningHandler(nullptr);
  });
  const std::uint64_t file_bytes = file_size_of(path);
  tiff_message[0] = 0;
  const std::unique_ptr<TIFF, void (*)(TIFF*)> file(TIFFOpen(path.c_str(), "rm"), TIFFClose);
  if (!file) damaged(path);
  TIFF* tiff = file.get();
  const Layout layout = read_layout(tiff, path);
  const std::string kind = text(layout.bits, "-bit ", layout.format == SAMPLEFORMAT_IEEEFP ? "floating-point" : "integer", " samples, ",
                                layout.samples, " per pixel, photometric ", layout.photometric);
  const bool palette = layout.photometric == PHOTOMETRIC_PALETTE && layout.bits == 8 && layout.samples == 1;
  const bool gray = layout.photometric == PHOTOMETRIC_MINISBLACK || layout.photometric == PHOTOMETRIC_MINISWHITE;
  const bool color = layout.photometric == PHOTOMETRIC_RGB && (layout.samples == 3 || layout.samples == 4);
  const bool integer = layout.format == SAMPLEFORMAT_UINT && (layout.bits == 8 || layout.bits == 16);
  const bool real = layout.format == SAMPLEFORMAT_IEEEFP && layout.bits == 32;
  const bool whole = layout.format == SAMPLEFORMAT_INT && (layout.bits == 16 || layout.bits == 32);
  if (!palette && !(gray && layout.samples <= 2) && !color) reject("'", path, "' has ", kind, ": unsupported; save it as gray or RGB");
  if (!integer && !((real || whole) && gray && layout.samples == 1))
    reject("'", path, "' has ", kind, ": unsupported; save it as 8 or 16 bit");
  if (layout.planar != PLANARCONFIG_CONTIG && layout.samples > 1)
    reject("'", path, "' stores its colours as separate planes; save them interleaved");
  if (whole && layout.photometric == PHOTOMETRIC_MINISWHITE) reject("'", path, "' has ", kind, ": unsupported; save it with black as zero");

  const std::size_t sample_bytes = layout.bits / 8;
  const std::uint64_t ratio = layout.compression == COMPRESSION_NONE ? 1 : 4096;
  check_claim(path, layout.width, layout.height, layout.samples * sample_bytes, file_bytes, ratio);
  const Shape shape{layout.height, layout.width, layout.samples};
  Tensor pixels;
  if (whole) {
    const Tensor raw = allocate_host({DType::uint8, {layout.height, layout.width, static_cast<std::int64_t>(sample_bytes)}}, path);
    read_samples(tiff, layout, static_cast<std::byte*>(raw.data()), path);
    const auto* samples = static_cast<const std::byte*>(raw.data());
    pixels = sample_bytes == 2 ? widen<std::int16_t>(samples, shape, path) : widen<std::int32_t>(samples, shape, path);
  } else {
    pixels = allocate_host({real ? DType::fp32 : layout.bits == 16 ? DType::uint16 : DType::uint8, shape}, path);
    read_samples(tiff, layout, static_cast<std::byte*>(pixels.data()), path);
  }
  if (real)
    for (const float value : pixels.span<float>())
      if (!std::isfinite(value)) fail("'", path, "' holds a value that is not finite (", value, "); clean the image");
  if (palette) pixels = apply_palette(tiff, pixels, layout, path);
  if (layout.samples == 2 || layout.samples == 4) pixels = drop_alpha(pixels, path);
  if (layout.photometric == PHOTOMETRIC_MINISWHITE && integer)
    layout.bits == 8 ? invert<std::uint8_t>(pixels) : invert<std::uint16_t>(pixels);
  return {pixels, static_cast<std::int64_t>(TIFFNumberOfDirectories(tiff))};
}

#else

Image read_tiff(const std::string& path) { reject("'", path, "': this build has no TIFF (install libtiff and build again)"); }

#endif

}  // namespace epitaxy
