// A file that appears whole or not at all: written under a temporary name beside its own, renamed when complete.
#pragma once

#include <fstream>
#include <string>
#include <string_view>

namespace epitaxy {

class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  /// Removes the temporary file unless commit() came first.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Flushes to the disk and renames. Fails where the disk is full or the folder is gone.
  void commit();

 private:
  std::string path_, part_;
  std::ofstream out_;
  bool committed_ = false;
};

/// The whole of a text file; fails, naming it, where it is missing or longer than `limit`.
std::string read_text(const std::string& path, std::size_t limit = std::size_t{256} << 20);

}  // namespace epitaxy
