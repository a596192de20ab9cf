#include "gzip.h"

#include <algorithm>
#include <memory>

#include "file.h"

#if EPITAXY_HAS_ZLIB
#include <zlib.h>
#endif

namespace epitaxy {

#if EPITAXY_HAS_ZLIB
namespace {
gzFile gz(void* file) { return static_cast<gzFile>(file); }
}  // namespace
#endif

GzipReader::GzipReader(const std::string& path) : path_(path), file_bytes_(file_size_of(path)) {
  std::uint8_t magic[2] = {0, 0};
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> probe(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!probe) fail("cannot open '", path, "'");
  compressed_ = std::fread(magic, 1, 2, probe.get()) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
#if EPITAXY_HAS_ZLIB
  file_ = gzopen(path.c_str(), "rb");
  if (!file_) fail("cannot open '", path, "'");
  gzbuffer(gz(file_), 1 << 18);
#else
  if (compressed_) reject("'", path, "' is gzip-compressed and this build has no zlib: expand it with gunzip");
  std::rewind(probe.get());
  file_ = probe.release();
#endif
}

GzipReader::~GzipReader() {
#if EPITAXY_HAS_ZLIB
  gzclose(gz(file_));
#else
  std::fclose(static_cast<std::FILE*>(file_));
#endif
}

std::uint64_t GzipReader::read(void* to, std::uint64_t bytes) {
  std::uint64_t done = 0;
  while (done < bytes) {
    const auto ask = static_cast<unsigned>(std::min<std::uint64_t>(bytes - done, 1u << 30));
#if EPITAXY_HAS_ZLIB
    const int got = gzread(gz(file_), static_cast<std::uint8_t*>(to) + done, ask);
    if (got < 0) {
      int code = 0;
      const char* why = gzerror(gz(file_), &code);
      if (code == Z_BUF_ERROR) break;  // the file ends too early
      fail("'", path_, "' is damaged: ", why, "; replace the file");
    }
#else
    const std::size_t got = std::fread(static_cast<std::uint8_t*>(to) + done, 1, ask, static_cast<std::FILE*>(file_));
#endif
    if (got == 0) break;
    done += static_cast<std::uint64_t>(got);
  }
  return done;
}

void GzipReader::finish() {
  std::uint8_t extra = 0;
  if (read(&extra, 1) != 0) fail("'", path_, "' is damaged: it holds more bytes than its header says; replace the file");
#if EPITAXY_HAS_ZLIB
  int code = 0;
  gzerror(gz(file_), &code);
  if (code != Z_OK) fail("'", path_, "' is truncated; replace the file");
#endif
}

std::vector<std::uint8_t> read_expanded(const std::string& path) {
  GzipReader reader(path);
  if (!reader.compressed()) return read_bytes(path);
  constexpr std::uint64_t kChunk = 1 << 20;
  std::vector<std::uint8_t> bytes;
  for (std::uint64_t got = kChunk; got == kChunk;) {
    const std::size_t before = bytes.size();
    if (before + kChunk > bytes.capacity() && before > cpu_backend().free_memory() / 4)
      fail("'", path, "' expands to more than the free memory");
    bytes.resize(before + kChunk);
    got = reader.read(bytes.data() + before, kChunk);
    bytes.resize(before + got);
  }
  reader.finish();
  return bytes;
}

void check_crc(std::span<const std::uint8_t> bytes, std::uint32_t crc, const std::string& what) {
#if EPITAXY_HAS_ZLIB
  std::uint32_t found = 0;
  constexpr std::size_t kPiece = 1 << 30;
  for (std::size_t at = 0; at < bytes.size(); at += kPiece)
    found = static_cast<std::uint32_t>(crc32(found, bytes.data() + at, static_cast<uInt>(std::min(kPiece, bytes.size() - at))));
  if (found != crc) fail(what, " is damaged: its checksum differs; replace the file");
#else
  static_cast<void>(bytes), static_cast<void>(crc), static_cast<void>(what);
#endif
}

std::vector<std::uint8_t> inflate_raw(std::span<const std::uint8_t> deflated, std::uint64_t bytes, std::uint32_t crc,
                                      const std::string& what) {
#if EPITAXY_HAS_ZLIB
  constexpr std::uint64_t kDeflateLimit = 1040, kMost = 0xffffffff;  // deflate expands at most 1032 times
  if (deflated.size() > kMost || bytes > kMost || bytes / kDeflateLimit > deflated.size())
    fail(what, " is damaged: ", deflated.size(), " compressed bytes cannot hold ", bytes, "; replace the file");
  std::vector<std::uint8_t> expanded(bytes);
  z_stream stream{};
  stream.next_in = const_cast<Bytef*>(deflated.data());
  stream.avail_in = static_cast<uInt>(deflated.size());
  stream.next_out = expanded.data();
  stream.avail_out = static_cast<uInt>(bytes);
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) fail(what, ": zlib cannot start");
  const int end = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  if (end != Z_STREAM_END || stream.avail_out != 0 || crc32(0, expanded.data(), static_cast<uInt>(bytes)) != crc)
    fail(what, " is damaged or truncated; replace the file");
  return expanded;
#else
  static_cast<void>(deflated), static_cast<void>(bytes), static_cast<void>(crc);
  reject(what, " is compressed and this build has no zlib: save it with numpy.savez");
#endif
}

}  // namespace epitaxy
