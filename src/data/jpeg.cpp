// JPEG through libjpeg (or libjpeg-turbo).
#include <csetjmp>
#include <cstddef>
#include <cstdio>

#include "epitaxy/data/image.h"
#include "file.h"

#if EPITAXY_HAS_JPEG
#include <jerror.h>
#include <jpeglib.h>
#endif

namespace epitaxy {

#if EPITAXY_HAS_JPEG

namespace {

struct JpegRead {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX] = "";

  JpegRead() {
    jpeg.err = jpeg_std_error(&errors);
    jpeg.client_data = this;
    errors.error_exit = on_error;
    errors.emit_message = on_message;
  }
  JpegRead(const JpegRead&) = delete;
  JpegRead& operator=(const JpegRead&) = delete;
  ~JpegRead() { jpeg_destroy_decompress(&jpeg); }

  static void on_error(j_common_ptr common) {
    auto* state = static_cast<JpegRead*>(common->client_data);
    common->err->format_message(common, state->message);
    std::longjmp(state->escape, 1);
  }
  /// Level -1 marks damaged data, which libjpeg would paint over; bytes between two markers are harmless.
  static void on_message(j_common_ptr common, int level) {
    if (level < 0 && common->err->msg_code != JWRN_EXTRANEOUS_DATA) on_error(common);
  }
};

bool read_jpeg_header(JpegRead& state, const std::vector<std::uint8_t>& bytes) {
  if (setjmp(state.escape)) return false;
  jpeg_create_decompress(&state.jpeg);
  state.jpeg.client_data = &state;
  jpeg_mem_src(&state.jpeg, bytes.data(), static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&state.jpeg, TRUE);
  return true;
}

bool read_jpeg_rows(JpegRead& state, std::uint8_t* pixels, std::size_t row_bytes) {
  if (setjmp(state.escape)) return false;
  state.jpeg.out_color_space = state.jpeg.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  state.jpeg.dct_method = JDCT_ISLOW;
  jpeg_start_decompress(&state.jpeg);
  while (state.jpeg.output_scanline < state.jpeg.output_height) {
    JSAMPROW row = pixels + state.jpeg.output_scanline * row_bytes;
    jpeg_read_scanlines(&state.jpeg, &row, 1);
  }
  jpeg_finish_decompress(&state.jpeg);
  return true;
}

}  // namespace

Image read_jpeg(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_bytes(path);
  if (bytes.size() < 3 || bytes[0] != 0xff || bytes[1] != 0xd8) reject("'", path, "' is not a JPEG file");
  JpegRead state;
  if (!read_jpeg_header(state, bytes)) fail("'", path, "' is damaged or truncated: ", state.message, "; replace the file");
  const std::int64_t channels = state.jpeg.num_components;
  if (channels != 1 && channels != 3) reject("'", path, "' has ", channels, " colour components; save it as gray or RGB");
  constexpr std::uint64_t kRatio = 2048;  // an empty 8x8 block takes a bit at least
  check_claim(path, state.jpeg.image_width, state.jpeg.image_height, static_cast<std::uint64_t>(channels), bytes.size(), kRatio);
  Tensor pixels = allocate_host({DType::uint8, {state.jpeg.image_height, state.jpeg.image_width, channels}}, path);
  const std::size_t row_bytes = static_cast<std::size_t>(pixels.dim(1) * channels);
  if (!read_jpeg_rows(state, pixels.as<std::uint8_t>(), row_bytes))
    fail("'", path, "' is damaged or truncated: ", state.message, "; replace the file");
  return {pixels, 1};
}

#else

Image read_jpeg(const std::string& path) { reject("'", path, "': this build has no JPEG (install libjpeg and build again)"); }

#endif

}  // namespace epitaxy
