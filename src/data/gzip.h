// Files that may be gzip-compressed (told apart by content), and raw deflate streams; both through zlib, where this build has it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

namespace epitaxy {

/// Reads a file front to back; a gzip-compressed one is expanded on the way.
class GzipReader {
 public:
  /// Rejects a compressed file where this build has no zlib.
  explicit GzipReader(const std::string& path);
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  bool compressed() const { return compressed_; }
  std::uint64_t file_bytes() const { return file_bytes_; }

  /// Reads up to `bytes`; returns how many there were. Fails on damaged compression.
  std::uint64_t read(void* to, std::uint64_t bytes);
  /// Called when all is read: fails where a compressed file was cut off or its checksum is wrong, or bytes are left.
  void finish();

 private:
  std::string path_;
  std::uint64_t file_bytes_;
  bool compressed_ = false;
  void* file_ = nullptr;  // gzFile, or std::FILE
};

/// All bytes of a file, expanded where it is compressed.
std::vector<std::uint8_t> read_expanded(const std::string& path);

/// Fails where the bytes have another CRC-32; `what` is for messages. Without zlib nothing is compared.
void check_crc(std::span<const std::uint8_t> bytes, std::uint32_t crc, const std::string& what);

/// Expands a raw deflate stream to exactly `bytes` bytes with that CRC-32; `what` is for messages.
std::vector<std::uint8_t> inflate_raw(std::span<const std::uint8_t> deflated, std::uint64_t bytes, std::uint32_t crc,
                                      const std::string& what);

}  // namespace epitaxy
