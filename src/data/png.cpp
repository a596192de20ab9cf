// PNG through libpng's low-level interface: its simplified one converts 16-bit values.
#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "epitaxy/data/image.h"
#include "file.h"

#if EPITAXY_HAS_PNG
#include <png.h>
#endif

namespace epitaxy {

#if EPITAXY_HAS_PNG

namespace {

/// All that survives a longjmp out of libpng; the functions between setjmp and longjmp own nothing else.
struct PngRead {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const std::uint8_t* bytes = nullptr;
  std::size_t size = 0, at = 0;
  png_uint_32 width = 0, height = 0;
  int bits = 0, color = 0;
  char message[160] = "";

  PngRead() = default;
  PngRead(const PngRead&) = delete;
  PngRead& operator=(const PngRead&) = delete;
  ~PngRead() { png_destroy_read_struct(&png, &info, nullptr); }
};

void on_png_error(png_structp png, png_const_charp message) {
  auto* state = static_cast<PngRead*>(png_get_error_ptr(png));
  std::strncpy(state->message, message, sizeof(state->message) - 1);
  std::longjmp(png_jmpbuf(png), 1);
}

void on_png_warning(png_structp, png_const_charp) {}

void give_bytes(png_structp png, png_bytep to, std::size_t count) {
  auto* state = static_cast<PngRead*>(png_get_io_ptr(png));
  if (count > state->size - state->at) png_error(png, "the file ends too early");
  std::memcpy(to, state->bytes + state->at, count);
  state->at += count;
}

bool read_png_header(PngRead& state) {
  if (setjmp(png_jmpbuf(state.png))) return false;
  png_set_read_fn(state.png, &state, give_bytes);
  png_set_user_limits(state.png, 1u << 24, 1u << 24);
  png_read_info(state.png, state.info);
  png_get_IHDR(state.png, state.info, &state.width, &state.height, &state.bits, &state.color, nullptr, nullptr, nullptr);
  if (state.color == PNG_COLOR_TYPE_PALETTE) {
    png_set_palette_to_rgb(state.png);
  } else if (state.color == PNG_COLOR_TYPE_GRAY && state.bits < 8) {
    png_set_expand_gray_1_2_4_to_8(state.png);
  }
  if (png_get_valid(state.png, state.info, PNG_INFO_tRNS)) png_set_tRNS_to_alpha(state.png);
  if (state.bits == 16) png_set_swap(state.png);  // PNG is big-endian
  png_set_interlace_handling(state.png);
  png_read_update_info(state.png, state.info);
  return true;
}

bool read_png_rows(PngRead& state, png_bytepp rows) {
  if (setjmp(png_jmpbuf(state.png))) return false;
  png_read_image(state.png, rows);
  png_read_end(state.png, nullptr);
  return true;
}

struct PngWrite {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<std::uint8_t>* bytes = nullptr;

  PngWrite() = default;
  PngWrite(const PngWrite&) = delete;
  PngWrite& operator=(const PngWrite&) = delete;
  ~PngWrite() { png_destroy_write_struct(&png, &info); }
};

void take_bytes(png_structp png, png_bytep from, std::size_t count) {
  auto* state = static_cast<PngWrite*>(png_get_io_ptr(png));
  state->bytes->insert(state->bytes->end(), from, from + count);
}

bool write_png_rows(PngWrite& state, png_uint_32 width, png_uint_32 height, int bits, int color, png_bytepp rows) {
  if (setjmp(png_jmpbuf(state.png))) return false;
  png_set_write_fn(state.png, &state, take_bytes, nullptr);
  png_set_IHDR(state.png, state.info, width, height, bits, color, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(state.png, state.info);
  if (bits == 16) png_set_swap(state.png);
  png_write_image(state.png, rows);
  png_write_end(state.png, nullptr);
  return true;
}

std::vector<png_bytep> rows_of(const Tensor& pixels) {
  std::vector<png_bytep> rows(static_cast<std::size_t>(pixels.dim(0)));
  const std::size_t row_bytes = pixels.bytes() / rows.size();
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = static_cast<png_bytep>(pixels.data()) + y * row_bytes;
  return rows;
}

}  // namespace

Image read_png(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_bytes(path);
  if (bytes.size() < 8 || png_sig_cmp(bytes.data(), 0, 8) != 0) reject("'", path, "' is not a PNG file");
  PngRead state;
  state.bytes = bytes.data();
  state.size = bytes.size();
  state.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &state, on_png_error, on_png_warning);
  if (state.png) state.info = png_create_info_struct(state.png);
  if (!state.info) fail("'", path, "': libpng cannot start (out of memory)");
  if (!read_png_header(state)) fail("'", path, "' is damaged or truncated: ", state.message, "; replace the file");
  const std::int64_t channels = png_get_channels(state.png, state.info);
  const DType dtype = state.bits == 16 ? DType::uint16 : DType::uint8;
  constexpr std::uint64_t kRatio = 1040 * 24;  // deflate, times a 1-bit palette expanded to 24 bits
  check_claim(path, state.width, state.height, static_cast<std::uint64_t>(channels) * size_of(dtype), bytes.size(), kRatio);
  Tensor pixels = allocate_host({dtype, {state.height, state.width, channels}}, path);
  std::vector<png_bytep> rows = rows_of(pixels);
  if (!read_png_rows(state, rows.data())) fail("'", path, "' is damaged or truncated: ", state.message, "; replace the file");
  if (channels == 2 || channels == 4) pixels = drop_alpha(pixels, path);
  if (state.color == PNG_COLOR_TYPE_PALETTE) pixels = gray_where_equal(pixels);
  return {pixels, 1};
}

void write_png(const std::string& path, const Tensor& pixels) {
  require(pixels.shape().rank() == 3 && (pixels.dim(2) == 1 || pixels.dim(2) == 3) && pixels.count() > 0 &&
              (pixels.dtype() == DType::uint8 || pixels.dtype() == DType::uint16),
          "write_png: [H, W, 1 or 3] uint8 or uint16, got ", pixels.spec());
  std::vector<std::uint8_t> bytes;
  bytes.reserve(pixels.bytes() + 1024);
  PngWrite state;
  state.bytes = &bytes;
  state.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  if (state.png) state.info = png_create_info_struct(state.png);
  if (!state.info) fail("'", path, "': libpng cannot start (out of memory)");
  std::vector<png_bytep> rows = rows_of(pixels);
  if (!write_png_rows(state, static_cast<png_uint_32>(pixels.dim(1)), static_cast<png_uint_32>(pixels.dim(0)),
                      pixels.dtype() == DType::uint16 ? 16 : 8, pixels.dim(2) == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, rows.data()))
    fail("'", path, "' cannot be encoded as PNG: ", pixels.spec());
  write_bytes(path, bytes);
}

#else

Image read_png(const std::string& path) { reject("'", path, "': this build has no PNG (install libpng and build again)"); }
void write_png(const std::string& path, const Tensor&) { reject("'", path, "': this build has no PNG (install libpng and build again)"); }

#endif

}  // namespace epitaxy
