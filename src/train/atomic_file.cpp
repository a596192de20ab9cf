#include "train/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "data/file.h"
#include "epitaxy/error.h"

namespace epitaxy {

namespace fs = std::filesystem;

AtomicFile::AtomicFile(const std::string& path) : path_(path), part_(text(path, ".partial-", ::getpid())) {
  out_.open(part_, std::ios::binary | std::ios::trunc);
  if (!out_) fail("cannot write '", path_, "': ", std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (committed_) return;
  out_.close();
  std::error_code ignored;
  fs::remove(part_, ignored);
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  out_.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  if (!out_) fail("cannot write '", path_, "': ", std::strerror(errno));
}

void AtomicFile::commit() {
  out_.close();
  if (!out_) fail("cannot write '", path_, "': ", std::strerror(errno));
  // The contents reach the disk before the name does, so that a power cut cannot leave an empty file under the final name.
  if (const int file = ::open(part_.c_str(), O_RDONLY | O_CLOEXEC); file >= 0) {
    const bool lost = ::fsync(file) != 0 && errno != EINVAL && errno != EROFS;  // those two: not a file system that can
    const int why = errno;
    ::close(file);
    if (lost) fail("cannot write '", path_, "': ", std::strerror(why));
  }
  std::error_code error;
  fs::rename(part_, path_, error);
  if (error) fail("cannot write '", path_, "': ", error.message());
  committed_ = true;
}

std::string read_text(const std::string& path, std::size_t limit) {
  const std::uint64_t size = file_size_of(path);
  if (size > limit) fail("'", path, "' has ", size, " bytes, which is no text file of ours");
  const auto bytes = read_bytes(path);
  return {bytes.begin(), bytes.end()};
}

}  // namespace epitaxy
