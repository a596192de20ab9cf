#include "file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace epitaxy {

namespace fs = std::filesystem;

namespace {
constexpr std::uint64_t kAlwaysTry = 16 << 20;  // bytes for which nobody is asked whether they are free
}

std::uint64_t file_size_of(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) reject("'", path, "' does not exist; check the path");
  if (!fs::is_regular_file(status)) reject("'", path, "' is not a file");
  const auto size = fs::file_size(path, error);
  if (error) fail("cannot read '", path, "': ", error.message());
  return size;
}

std::vector<std::uint8_t> read_bytes(const std::string& path) {
  const std::uint64_t size = file_size_of(path);
  if (size > kAlwaysTry && size > cpu_backend().free_memory()) fail("'", path, "' has ", size >> 20, " MiB, more than the free memory");
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("cannot open '", path, "': ", std::strerror(errno));
  std::vector<std::uint8_t> bytes(size);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (static_cast<std::uint64_t>(in.gcount()) != size) fail("cannot read all of '", path, "': ", in.gcount(), " of ", size, " bytes");
  return bytes;
}

void write_bytes(const std::string& path, std::span<const std::uint8_t> bytes) {
  const std::string part = text(path, ".partial-", ::getpid());
  {
    std::ofstream out(part, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    out.close();
    if (!out) {
      const std::string why = std::strerror(errno);
      std::error_code ignored;
      fs::remove(part, ignored);
      fail("cannot write '", path, "': ", why);
    }
  }
  std::error_code error;
  fs::rename(part, path, error);
  if (error) {
    const std::string why = error.message();
    fs::remove(part, error);
    fail("cannot write '", path, "': ", why);
  }
}

std::size_t utf8_length(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const unsigned lead = byte(at);
    const std::size_t count = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (count == 0) return at;
    for (std::size_t i = 1; i < count; ++i)
      if ((byte(at + i) & 0xc0) != 0x80) return at;
    // Longer forms than needed, surrogates, and what lies behind U+10FFFF.
    const unsigned second = byte(at + 1);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second > 0x8f))
      return at;
    at += count;
  }
  return at;
}

Tensor allocate_host(const TensorSpec& spec, std::string_view what) {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(spec.shape.count()), size_of(spec.dtype), &bytes))
    fail(what, ": ", spec, " is more than memory can hold");
  if (bytes > kAlwaysTry) {
    const std::uint64_t free = cpu_backend().free_memory();
    if (bytes > free)
      fail(what, ": ", spec, " needs ", bytes >> 20, " MiB of memory, ", free >> 20, " MiB are free; use fewer or smaller items");
  }
  return Tensor(cpu_backend(), spec);
}

void check_claim(const std::string& path, std::uint64_t width, std::uint64_t height, std::uint64_t bytes_per_pixel,
                 std::uint64_t file_bytes, std::uint64_t ratio) {
  constexpr std::uint64_t kLongest = 1u << 24;
  if (width == 0 || height == 0 || width > kLongest || height > kLongest)
    fail("'", path, "' is damaged: its header gives an image of ", width, " x ", height, " pixels; replace the file");
  if (width * height > (file_bytes * ratio) / bytes_per_pixel)
    fail("'", path, "' is damaged or truncated: its header gives ", width, " x ", height, " pixels, more than its ", file_bytes,
         " bytes can hold; replace the file");
}

Tensor keep_channels(const Tensor& pixels, std::int64_t channels) {
  const std::int64_t all = pixels.dim(2);
  if (all == channels) return pixels;
  Tensor kept = allocate_host({pixels.dtype(), {pixels.dim(0), pixels.dim(1), channels}}, "image");
  const std::size_t from_bytes = static_cast<std::size_t>(all) * size_of(pixels.dtype());
  const std::size_t to_bytes = static_cast<std::size_t>(channels) * size_of(pixels.dtype());
  const auto* from = static_cast<const std::byte*>(pixels.data());
  auto* to = static_cast<std::byte*>(kept.data());
  for (std::int64_t i = 0; i < pixels.dim(0) * pixels.dim(1); ++i, from += from_bytes, to += to_bytes) std::memcpy(to, from, to_bytes);
  return kept;
}

Tensor gray_where_equal(const Tensor& pixels) {
  const auto values = pixels.span<std::uint8_t>();
  for (std::size_t i = 0; i < values.size(); i += 3)
    if (values[i] != values[i + 1] || values[i] != values[i + 2]) return pixels;
  return keep_channels(pixels, 1);
}

namespace {
template <class T>
bool opaque(const Tensor& pixels, T full) {
  const std::int64_t channels = pixels.dim(2);
  const T* values = pixels.as<T>();
  for (std::int64_t i = channels - 1; i < pixels.count(); i += channels)
    if (values[i] != full) return false;
  return true;
}
}  // namespace

Tensor drop_alpha(const Tensor& pixels, const std::string& path) {
  const bool solid = pixels.dtype() == DType::uint8 ? opaque<std::uint8_t>(pixels, 255) : opaque<std::uint16_t>(pixels, 65535);
  if (!solid) fail("'", path, "' is partly transparent; flatten it first (its alpha channel would be lost)");
  return keep_channels(pixels, pixels.dim(2) - 1);
}

}  // namespace epitaxy
