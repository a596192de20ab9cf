// Fibers on mapped stacks.
#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdlib>
#include <utility>

#include "epitaxy/error.h"

#if !defined(__x86_64__)
#include <boost/context/detail/fcontext.hpp>
#endif
#if EPITAXY_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if EPITAXY_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long bytes);
void __tsan_write_range(void* address, unsigned long bytes);
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
}
#endif

namespace epitaxy::emulated {

namespace {
constexpr std::size_t kPage = 4096;
constexpr std::size_t kStackBytes = kAddressSanitizer || kThreadSanitizer ? 256 * 1024 : 64 * 1024;
#if EPITAXY_TSAN
constexpr unsigned kNoSync = 1;  // a switch by itself orders nothing
#endif
}  // namespace

Fiber* Fiber::left_ = nullptr;
Fiber* Fiber::entered_ = nullptr;

Fiber::Fiber(Body body) : body_(body), stack_bytes_(kStackBytes) {
  void* memory = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail("emulator: no memory for the stack of an emulated thread");
  mapping_ = static_cast<char*>(memory);
  mprotect(mapping_, kPage, PROT_NONE);
  stack_bottom_ = mapping_ + kPage;
  static std::size_t made = 0;
  offset_ = made++ % 16 * 576;  // stacks that all began at one offset within a page would fight for the same cache lines
#if EPITAXY_TSAN
  tsan_ = __tsan_create_fiber(0);
#endif
  prepare();
}

Fiber::~Fiber() {
#if EPITAXY_TSAN
  if (mapping_ && tsan_) __tsan_destroy_fiber(tsan_);
#endif
#if EPITAXY_ASAN
  if (mapping_) __asan_unpoison_memory_region(mapping_ + kPage, kStackBytes);
#endif
  if (mapping_) munmap(mapping_, kStackBytes + kPage);
}

#if defined(__x86_64__)

void Fiber::prepare() {
  auto** const top = reinterpret_cast<void**>(mapping_ + kPage + kStackBytes - offset_);
  top[-1] = nullptr;  // as if start() had been called
  top[-2] = reinterpret_cast<void*>(&Fiber::start);
  context_ = top - 2;
}

// No call and no return: the processor's guesses where functions return to stay right, as fibers mostly wait at the same places. The
// floating-point control words are not switched, since nobody changes them.
inline void Fiber::leave(Fiber& from, Fiber& to) {
  void** save = &from.context_;
  void* load = to.context_;
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\t"  // the caller's red zone
      "pushq %%rbp\n\t"
      "pushq %%rbx\n\t"
      "leaq 1f(%%rip), %%rcx\n\t"
      "pushq %%rcx\n\t"
      "movq %%rsp, (%%rdi)\n\t"
      "movq %%rsi, %%rsp\n\t"
      "popq %%rcx\n\t"
      "jmp *%%rcx\n"
      "1:\n\t"
      "popq %%rbx\n\t"
      "popq %%rbp\n\t"
      "leaq 128(%%rsp), %%rsp"
      : "+D"(save), "+S"(load)
      :
      : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
        "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}

#else

void Fiber::prepare() {
  context_ = boost::context::detail::make_fcontext(mapping_ + kPage + kStackBytes - offset_, kStackBytes - offset_,
                                                   [](boost::context::detail::transfer_t from) {
                                                     left_->context_ = from.fctx;
                                                     start();
                                                   });
}

inline void Fiber::leave(Fiber&, Fiber& to) { left_->context_ = boost::context::detail::jump_fcontext(to.context_, nullptr).fctx; }

#endif

void Fiber::restart([[maybe_unused]] Fiber& caller, [[maybe_unused]] void* sync) {
#if EPITAXY_ASAN
  __asan_unpoison_memory_region(mapping_ + kPage, kStackBytes);
#endif
#if EPITAXY_TSAN
  __tsan_switch_to_fiber(tsan_, kNoSync);
  __tsan_release(sync);
  __tsan_switch_to_fiber(caller.tsan_, kNoSync);
#endif
  fake_stack_ = nullptr;
  prepare();
}

void Fiber::adopt_caller() {
#if EPITAXY_TSAN
  tsan_ = __tsan_get_current_fiber();
#endif
}

void Fiber::landed() {
#if EPITAXY_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, &left_->stack_bottom_, &left_->stack_bytes_);
#endif
}

void Fiber::start() {
  Fiber& self = *entered_;
  self.landed();
  self.body_();
  std::abort();  // a body never returns
}

void Fiber::switch_to(Fiber& from, Fiber& to) {
  left_ = &from;
  entered_ = &to;
#if EPITAXY_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_bottom_, to.stack_bytes_);
#endif
#if EPITAXY_TSAN
  __tsan_switch_to_fiber(to.tsan_, kNoSync);
#endif
  leave(from, to);
  from.landed();
}

#if EPITAXY_TSAN
void tsan_release(void* sync) { __tsan_release(sync); }
void tsan_acquire(void* sync) { __tsan_acquire(sync); }
void tsan_read(const void* address, std::size_t bytes) { __tsan_read_range(const_cast<void*>(address), bytes); }
void tsan_write(void* address, std::size_t bytes) { __tsan_write_range(address, bytes); }
Muted::Muted() { __tsan_ignore_thread_begin(); }
Muted::~Muted() { __tsan_ignore_thread_end(); }
#endif

}  // namespace epitaxy::emulated
