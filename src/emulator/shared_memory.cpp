// The arena behind a block's shared memory.
#include "emulator/shared_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "emulator/fiber.h"
#include "epitaxy/error.h"

#if EPITAXY_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace epitaxy::emulated {

namespace {
constexpr std::size_t kArenaBytes = 1 << 20;  // a block has at most 227 KB of variables; the rest is guards
constexpr std::size_t kGuardBytes = 256;
constexpr unsigned char kPoison = 0xff;
const std::vector<unsigned char> kPristine(2 * kGuardBytes + 128, kPoison);  // longer than any gap between variables
}  // namespace

SharedMemory::SharedMemory() : arena_(static_cast<unsigned char*>(std::aligned_alloc(1024, kArenaBytes))), used_(kArenaBytes) {
  if (!arena_) throw std::bad_alloc();
}

SharedMemory::~SharedMemory() {
#if EPITAXY_ASAN
  __asan_unpoison_memory_region(arena_, kArenaBytes);
#endif
  std::free(arena_);
  std::free(async_view_);
}

void SharedMemory::begin_block(std::size_t dynamic_bytes) {
  const Muted muted;
#if EPITAXY_ASAN
  __asan_unpoison_memory_region(arena_, kArenaBytes);
#endif
  std::memset(arena_, kPoison, used_);
#if EPITAXY_ASAN
  __asan_poison_memory_region(arena_, kArenaBytes);
#endif
  variables_.clear();
  async_ = false;
  static_bytes_ = 0;
  used_ = kGuardBytes;
  dynamic_ = static_cast<unsigned char*>(place(nullptr, "dynamic shared memory", dynamic_bytes, 128));
}

void* SharedMemory::place(const void* key, const char* name, std::size_t bytes, std::size_t alignment) {
  const std::size_t offset = (used_ + alignment - 1) / alignment * alignment;
  const std::size_t end = (offset + bytes + kGuardBytes + 15) / 16 * 16;
  if (end > kArenaBytes) fail("emulator: shared variable ", name, " of ", bytes, " bytes does not fit");
  used_ = end;
  variables_.push_back({key, name, offset, bytes});
  if (async_) std::memset(async_view_ + offset, kPoison, bytes);
#if EPITAXY_ASAN
  __asan_unpoison_memory_region(arena_ + offset, bytes);
#endif
  return arena_ + offset;
}

void* SharedMemory::variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name) {
  for (const Variable& one : variables_)
    if (one.key == key) return arena_ + one.offset;
  const Muted muted;
  static_bytes_ += bytes;
  return place(key, name, bytes, alignment);
}

bool SharedMemory::holds(const void* address, std::size_t bytes) const {
  const auto* at = static_cast<const unsigned char*>(address);
  return at >= arena_ && at + bytes <= arena_ + used_;
}

void SharedMemory::begin_async() {
  if (async_) return;
  const Muted muted;
  if (!async_view_ && !(async_view_ = static_cast<unsigned char*>(std::malloc(kArenaBytes)))) throw std::bad_alloc();
  std::memset(async_view_, kPoison, used_);
  async_ = true;
}

void SharedMemory::publish() {
  const Muted muted;
  constexpr std::size_t kChunk = 4096;
  for (const Variable& one : variables_)
    for (std::size_t at = one.offset, end = one.offset + one.bytes; at < end; at += kChunk) {
      const std::size_t bytes = std::min(kChunk, end - at);  // mostly, little has changed
      if (std::memcmp(async_view_ + at, arena_ + at, bytes) != 0) std::memcpy(async_view_ + at, arena_ + at, bytes);
    }
}

std::string SharedMemory::damage() const {
  if constexpr (kAddressSanitizer) return {};
  std::size_t clean = 0;  // start of the guard before the next variable
  for (std::size_t i = 0; i <= variables_.size(); ++i) {
    const std::size_t guard_end = i < variables_.size() ? variables_[i].offset : used_;
    const bool whole = std::memcmp(arena_ + clean, kPristine.data(), guard_end - clean) == 0;
    for (std::size_t at = clean; at < guard_end && !whole; ++at) {
      if (arena_[at] == kPoison) continue;
      const bool after = i > 0 && (i == variables_.size() || at - clean < guard_end - at);
      const Variable& near = variables_[after ? i - 1 : i];
      return text("out of bounds write ", after ? at - near.offset - near.bytes : near.offset - at, " bytes ",
                  after ? "past the end of " : "before ", near.name, " (", near.bytes, " bytes)");
    }
    if (i < variables_.size()) clean = guard_end + variables_[i].bytes;
  }
  return {};
}

}  // namespace epitaxy::emulated
