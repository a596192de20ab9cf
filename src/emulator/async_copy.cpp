// cp.async: copies of a thread land at once, at the wait that needs them, or at any moment between.
#include <algorithm>
#include <cstring>

#include "emulator/scheduler.h"
#include "epitaxy/error.h"

#if EPITAXY_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace epitaxy::emulated {

namespace {

void land(const PendingCopy& copy) {
  tsan_read(copy.from, copy.valid);
  tsan_write(copy.to, copy.bytes);
  const Muted muted;
  if (copy.valid) std::memcpy(copy.to, copy.from, copy.valid);
  if (copy.valid < copy.bytes) std::memset(static_cast<char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
}

template <class Chosen>
void land_chosen(Thread& thread, Chosen chosen) {  // in the order of issue
  const auto rest = std::stable_partition(thread.copies.begin(), thread.copies.end(), chosen);
  std::for_each(thread.copies.begin(), rest, land);
  thread.copies.erase(thread.copies.begin(), rest);
}

void land_some(Scheduler& s, Thread& thread) {
  if (emulator_options().async == AsyncMode::random && !thread.copies.empty())
    land_chosen(thread, [&](const PendingCopy&) { return s.random() % 4 == 0; });
}

}  // namespace

void copy_async(void* to, const void* from, unsigned bytes, unsigned valid, Site site) {
  Scheduler& s = scheduler();
  Thread& self = s.running();
  const auto misaligned = [bytes](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % bytes != 0; };
  if (misaligned(to) || (valid && misaligned(from)))
    s.stop(text(describe(self), " at ", describe(site), ": cp.async of ", bytes, " bytes at a misaligned ",
                misaligned(to) ? "shared" : "global", " address"));
  if (!s.shared().holds(to, bytes))
    s.stop(text(describe(self), " at ", describe(site), ": the destination of cp.async is not in shared memory"));
#if EPITAXY_ASAN  // touch both ends here, where the kernel's line is on the stack
  if (valid && __asan_region_is_poisoned(const_cast<void*>(from), valid))
    static_cast<void>(*static_cast<const volatile char*>(from)), static_cast<void>(static_cast<const volatile char*>(from)[valid - 1]);
  if (__asan_region_is_poisoned(to, bytes))
    static_cast<void>(*static_cast<const volatile char*>(to)), static_cast<void>(static_cast<const volatile char*>(to)[bytes - 1]);
#endif
  const PendingCopy copy{to, from, bytes, valid, self.commits};
  if (emulator_options().async == AsyncMode::eager) return land(copy);
  land_some(s, self);
  self.copies.push_back(copy);
}

void commit_async() {
  Scheduler& s = scheduler();
  Thread& self = s.running();
  ++self.commits;
  land_some(s, self);
}

void wait_async(unsigned groups_left_pending) {
  Thread& self = scheduler().running();
  land_copies(self, false, groups_left_pending);
  land_some(scheduler(), self);
}

void land_copies(Thread& thread, bool all, unsigned groups_left_pending) {
  if (thread.copies.empty()) return;
  land_chosen(thread, [&](const PendingCopy& copy) { return all || copy.group + groups_left_pending < thread.commits; });
}

}  // namespace epitaxy::emulated
