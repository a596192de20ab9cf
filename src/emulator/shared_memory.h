// The shared memory of one block: dynamic memory and static variables in one arena, each between guards, all bytes 0xFF (a NaN
// in every float type) until written.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

namespace epitaxy::emulated {

class SharedMemory {
 public:
  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  /// Empties it and lays out the block's dynamic memory.
  void begin_block(std::size_t dynamic_bytes);
  void* dynamic() const { return dynamic_; }
  /// The variable of that key, new in this block or met before.
  void* variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name);
  std::size_t static_bytes() const { return static_bytes_; }
  /// Whether the bytes lie in the arena.
  bool holds(const void* address, std::size_t bytes) const;
  /// Where it lies in the block's window of shared memory.
  std::size_t offset(const void* address) const { return static_cast<std::size_t>(static_cast<const unsigned char*>(address) - arena_); }
  void* at(std::size_t offset) const { return arena_ + offset; }

  // The asynchronous proxy (TMA, wgmma) has its own view, which ordinary stores reach only by publish(). The view begins as poison.
  void begin_async();
  void publish();
  /// Copies 16 bytes from the view. False where the memory holds something else: stores that were not published, or came since.
  bool read_async(void* to, std::size_t offset) const {
    std::memcpy(to, async_view_ + offset, 16);
    return std::memcmp(arena_ + offset, to, 16) == 0;
  }
  /// Writes 16 bytes to memory and view.
  void write_async(std::size_t offset, const void* from) {
    std::memcpy(arena_ + offset, from, 16);
    std::memcpy(async_view_ + offset, from, 16);
  }
  /// What was written outside of every variable, or an empty string. (ASan has already stopped such a write.)
  std::string damage() const;

 private:
  struct Variable {
    const void* key;
    const char* name;
    std::size_t offset, bytes;
  };
  void* place(const void* key, const char* name, std::size_t bytes, std::size_t alignment);

  unsigned char* arena_;
  unsigned char* async_view_ = nullptr;
  bool async_ = false;  // the view is used in this block
  unsigned char* dynamic_ = nullptr;
  std::size_t used_ = 0;
  std::size_t static_bytes_ = 0;
  std::vector<Variable> variables_;
};

}  // namespace epitaxy::emulated
