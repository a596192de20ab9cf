// Barriers in shared memory and named barriers. The mbarrier's 64 bits: expected arrivals (20), pending arrivals (20), bytes to come
// (21, signed), phase (1), and a mark that memory which was never initialised does not bear.
#include <algorithm>

#include "emulator/hopper.h"
#include "epitaxy/error.h"

namespace epitaxy::emulated {

namespace {

constexpr std::int64_t kMostBytes = (1 << 20) - 1;

struct State {
  unsigned expected, pending;
  std::int64_t bytes;
  unsigned phase;
  bool valid;
};

State unpack(std::uint64_t bits) {
  const auto bytes = static_cast<std::int64_t>(bits >> 40 & 0x1fffff);
  return {static_cast<unsigned>(bits & 0xfffff), static_cast<unsigned>(bits >> 20 & 0xfffff),
          bytes > kMostBytes ? bytes - (std::int64_t{1} << 21) : bytes, static_cast<unsigned>(bits >> 61 & 1), bits >> 62 == 2};
}

std::uint64_t pack(const State& s) {
  return s.expected | static_cast<std::uint64_t>(s.pending) << 20 | (static_cast<std::uint64_t>(s.bytes) & 0x1fffff) << 40 |
         static_cast<std::uint64_t>(s.phase) << 61 | std::uint64_t{2} << 62;
}

char* clock_of(std::uint64_t* barrier, unsigned phase) { return reinterpret_cast<char*>(barrier) + phase; }

}  // namespace

unsigned shared_offset(const void* address, Site site) {
  Scheduler& s = scheduler();
  if (!s.shared().holds(address, 0)) s.stop(text(describe(s.running()), " at ", describe(site), ": the address is not in shared memory"));
  return static_cast<unsigned>(s.shared().offset(address));
}

Barrier& Hopper::barrier(Scheduler& s, const std::uint64_t* at, const char* instruction, Site site) {
  const auto found = std::find_if(barriers.begin(), barriers.end(), [&](const Barrier& one) { return one.at == at; });
  if (found == barriers.end() || !unpack(*at).valid)
    s.stop(text(describe(s.running()), " at ", describe(site), ": ", instruction, " of a barrier that ",
                found == barriers.end() ? "was not initialised" : "ordinary stores have overwritten"));
  return *found;
}

void init_mbarrier(std::uint64_t* barrier, unsigned arrivals, Site site) {
  Scheduler& s = scheduler();
  Hopper& h = s.hopper("mbarrier.init", site);
  const auto refuse = [&](const auto&... why) { s.stop(text(describe(s.running()), " at ", describe(site), ": mbarrier.init ", why...)); };
  if (!s.shared().holds(barrier, 8)) refuse("outside shared memory");
  if (arrivals < 1 || arrivals >= 1u << 20) refuse("with ", arrivals, " arrivals");
  tsan_write(barrier, 8);
  const Muted muted;
  std::erase_if(h.barriers, [&](const Barrier& one) { return one.at == barrier; });
  h.barriers.push_back({barrier, &s.running(), false, {}});
  *barrier = pack({arrivals, arrivals, 0, 0, true});
}

void fence_mbarrier_init(Site site) {
  Scheduler& s = scheduler();
  for (Barrier& one : s.hopper("fence.mbarrier_init", site).barriers) one.fenced |= one.owner == &s.running();
}

void Hopper::complete(Scheduler& s, Barrier& barrier) {  // if it is
  State state = unpack(*barrier.at);
  if (state.pending > 0 || state.bytes != 0) return;
  state.pending = state.expected;
  state.phase ^= 1;
  *barrier.at = pack(state);
  for (const Thread* one : barrier.waiting) s.make_ready(*one);
  barrier.waiting.clear();
}

void arrive_mbarrier(std::uint64_t* barrier, unsigned bytes, Site site) {
  Scheduler& s = scheduler();
  Hopper& h = s.hopper("mbarrier.arrive", site);
  Barrier& one = h.barrier(s, barrier, "mbarrier.arrive", site);
  State state = unpack(*barrier);
  tsan_read(barrier, 8);
  if (state.pending == 0)
    s.stop(text(describe(s.running()), " at ", describe(site), ": mbarrier.arrive is one more than the ", state.expected,
                " arrivals of a phase"));
  if (state.bytes + bytes > kMostBytes)
    s.stop(text(describe(s.running()), " at ", describe(site), ": mbarrier.expect_tx of ", bytes, " bytes, more than ", kMostBytes,
                " in all"));
  tsan_release(clock_of(barrier, state.phase));
  state.bytes += bytes;
  --state.pending;
  *barrier = pack(state);
  h.complete(s, one);
}

void wait_mbarrier(std::uint64_t* barrier, unsigned parity, Site site) {
  Scheduler& s = scheduler();
  Hopper& h = s.hopper("mbarrier.try_wait", site);
  Thread& self = s.running();
  tsan_read(barrier, 8);
  if (parity > 1) s.stop(text(describe(self), " at ", describe(site), ": mbarrier_wait for parity ", parity, ", which is 0 or 1"));
  Barrier& one = h.barrier(s, barrier, "mbarrier.try_wait", site);
  if (unpack(*barrier).phase == parity) {
    append(one.waiting, self);
    self.meeting = Meeting::mbarrier;
    self.site = site;
    self.barrier = barrier;
    self.parity = parity;
    s.suspend();
    self.meeting = Meeting::none;
    h.barrier(s, barrier, "mbarrier.try_wait", site);
    if (unpack(*barrier).phase == parity)
      s.stop(text(describe(self), " at ", describe(site), ": the barrier went on by two phases while this thread waited for parity ",
                  parity, "; whoever ends a phase must know that all have seen the one before"));
  }
  tsan_acquire(clock_of(barrier, parity));
}

std::string describe_barrier(const SharedMemory& shared, const std::uint64_t* barrier) {
  const State state = unpack(*barrier);
  return text("the barrier at byte ", shared.offset(barrier), " of shared memory, phase ", state.phase, ", lacks ", state.pending, " of ",
              state.expected, " arrivals and ", state.bytes, " bytes");
}

// ---- named barriers ----

void meet_named(int id, int threads, bool wait, Site site) {
  Scheduler& s = scheduler();
  Hopper& h = s.hopper("bar.sync", site);
  Thread& self = s.running();
  const auto refuse = [&](const auto&... why) {
    s.stop(text(describe(self), " at ", describe(site), ": ", wait ? "bar.sync " : "bar.arrive ", id, ", ", threads, ": ", why...));
  };
  if (id < 1 || id > 15) refuse("barriers are 1 to 15 (0 is __syncthreads)");
  if (threads % 32 != 0 || threads < 32 || threads > s.thread_count()) refuse("the threads must be whole warps of the block");
  NamedBarrier& barrier = h.named[static_cast<std::size_t>(id)];
  if (barrier.arrived > 0 && barrier.threads != threads)
    refuse("others have arrived for ", barrier.threads, " threads at ", describe(barrier.site));
  if (std::find(barrier.waiting.begin(), barrier.waiting.end(), &self) != barrier.waiting.end()) refuse("the thread is already there");
  barrier.threads = threads;
  barrier.site = site;
  const unsigned phase = barrier.phase;
  tsan_release(&barrier.clock[phase]);
  if (wait) append(barrier.waiting, self);
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    barrier.phase = 1 - phase;
    for (const Thread* one : barrier.waiting) s.make_ready(*one);
    barrier.waiting.clear();
  }
  if (!wait) return;
  self.meeting = Meeting::named_barrier;
  self.site = site;
  s.suspend();
  self.meeting = Meeting::none;
  tsan_acquire(&barrier.clock[phase]);
}

}  // namespace epitaxy::emulated
