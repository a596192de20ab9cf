// A stack that emulated threads run on, announced to the sanitizers. Switched by hand on x86-64, elsewhere by Boost.Context.
#pragma once

#include <cstddef>

#include "emulator/sanitizers.h"

namespace epitaxy::emulated {

class Fiber {
 public:
  using Body = void (*)();

  /// The fiber of the code that calls; it has no stack of its own here.
  Fiber() = default;
  /// A new stack with a guard page below it. The body starts at the first switch and must never return.
  explicit Fiber(Body body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Leaves `from`, the running fiber, and continues `to`; returns when somebody switches back.
  static void switch_to(Fiber& from, Fiber& to);
  /// Forgets where the fiber was suspended: the next switch starts its body anew. Nothing on its stack is destroyed.
  /// TSan: what it did until then happens before the caller's next acquire of `sync`.
  void restart(Fiber& caller, void* sync);
  /// Makes the calling code's own TSan identity this fiber's (for the fiber without a stack).
  void adopt_caller();

 private:
  void prepare();
  static void start();
  static void leave(Fiber& from, Fiber& to);
  void landed();

  void* context_ = nullptr;  // where it was suspended
  Body body_ = nullptr;
  char* mapping_ = nullptr;
  const void* stack_bottom_ = nullptr;
  std::size_t stack_bytes_ = 0;
  std::size_t offset_ = 0;
  void* fake_stack_ = nullptr;  // ASan's
  void* tsan_ = nullptr;
  static Fiber* left_;     // by the latest switch
  static Fiber* entered_;  // by it
};

/// TSan: a release by one fiber happens before a later acquire by another. Nothing in other builds.
#if EPITAXY_TSAN
void tsan_release(void* sync);
void tsan_acquire(void* sync);
void tsan_read(const void* address, std::size_t bytes);
void tsan_write(void* address, std::size_t bytes);
#else
inline void tsan_release(void*) {}
inline void tsan_acquire(void*) {}
inline void tsan_read(const void*, std::size_t) {}
inline void tsan_write(void*, std::size_t) {}
#endif

/// TSan ignores what this code does while it lives: memory functions are seen by TSan even in code it does not instrument.
class Muted {
 public:
#if EPITAXY_TSAN
  Muted();
  ~Muted();
#else
  Muted() {}  // not defaulted: an object of it is never unused
  ~Muted() {}
#endif
  Muted(const Muted&) = delete;
  Muted& operator=(const Muted&) = delete;
};

}  // namespace epitaxy::emulated
