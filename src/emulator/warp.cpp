// What lanes of a warp do together: the last to arrive computes for all.
#include <bit>

#include "emulator/scheduler.h"
#include "emulator/tensor_core.h"
#include "epitaxy/error.h"

namespace epitaxy::emulated {

int lane_index() { return scheduler().running().lane; }

namespace {

template <class Do>
void for_lanes(unsigned mask, Do&& act) {
  for (; mask; mask &= mask - 1) act(std::countr_zero(mask));
}

void exchange(Scheduler& s, int warp, Meeting kind, unsigned mask) {
  const auto fold = [&](auto first, auto op) {
    auto total = first;
    for_lanes(mask, [&](int lane) { total = op(total, static_cast<decltype(first)>(s.thread(warp, lane).value)); });
    for_lanes(mask, [&](int lane) { s.thread(warp, lane).received = static_cast<std::uint32_t>(total); });
  };
  using U = std::uint32_t;
  using I = std::int32_t;
  switch (kind) {
    case Meeting::shuffle:
      for_lanes(mask, [&](int lane) {
        Thread& one = s.thread(warp, lane);
        if (!(mask >> one.source & 1u))
          s.stop(text(describe(one), " at ", describe(one.site), " reads lane ", one.source,
                      ", which does not take part in the shuffle (mask 0x", std::hex, mask, ")"));
        one.received = s.thread(warp, one.source).value;
      });
      break;
    case Meeting::ballot:
    case Meeting::all:
    case Meeting::any: {
      unsigned votes = 0;
      for_lanes(mask, [&](int lane) { votes |= static_cast<unsigned>(s.thread(warp, lane).value != 0) << lane; });
      const unsigned result = kind == Meeting::ballot ? votes : kind == Meeting::all ? votes == mask : votes != 0;
      for_lanes(mask, [&](int lane) { s.thread(warp, lane).received = result; });
      break;
    }
    case Meeting::match_any:
      for_lanes(mask, [&](int lane) {
        unsigned same = 0;
        for_lanes(mask,
                  [&](int other) { same |= static_cast<unsigned>(s.thread(warp, other).value == s.thread(warp, lane).value) << other; });
        s.thread(warp, lane).received = same;
      });
      break;
    case Meeting::reduce_add: fold(U{0}, [](U a, U b) { return a + b; }); break;
    case Meeting::reduce_min: fold(~U{0}, [](U a, U b) { return b < a ? b : a; }); break;
    case Meeting::reduce_max: fold(U{0}, [](U a, U b) { return a < b ? b : a; }); break;
    case Meeting::reduce_min_signed: fold(I{0x7fffffff}, [](I a, I b) { return b < a ? b : a; }); break;
    case Meeting::reduce_max_signed: fold(I{-0x7fffffff - 1}, [](I a, I b) { return a < b ? b : a; }); break;
    case Meeting::reduce_and: fold(~U{0}, [](U a, U b) { return a & b; }); break;
    case Meeting::reduce_or: fold(U{0}, [](U a, U b) { return a | b; }); break;
    case Meeting::reduce_xor: fold(U{0}, [](U a, U b) { return a ^ b; }); break;
    default: matrix_operation(s, warp, kind); break;
  }
}

}  // namespace

std::uint64_t meet_lanes(Meeting kind, unsigned mask, std::uint64_t value, int source, Site site) {
  Scheduler& s = scheduler();
  Thread& self = s.running();
  Warp& warp = s.warp(self.warp);
  const unsigned me = 1u << self.lane;
  if (!(mask & me))
    s.stop(text(describe(self), " calls ", name(kind), " at ", describe(site), " with a mask that leaves itself out (0x", std::hex, mask,
                ")"));
  if (mask & ~warp.present)
    s.stop(text(describe(self), " calls ", name(kind), " at ", describe(site), " with mask 0x", std::hex, mask,
                ", but its warp has only lanes 0x", warp.present));
  self.meeting = kind;
  self.site = site;
  self.mask = mask;
  self.value = value;
  self.source = source;
  warp.waiting |= me;

  const int lowest = std::countr_zero(mask);
  char* sync = nullptr;  // only __syncwarp orders memory
  if (kThreadSanitizer && kind == Meeting::syncwarp) {
    sync = &s.crew().syncwarp[static_cast<std::size_t>(self.warp)][static_cast<std::size_t>(lowest)]
                             [warp.meetings[static_cast<std::size_t>(lowest)] % 2];
    tsan_release(sync);
  }
  if ((warp.waiting & mask) == mask) {
    bool same_mask = true;
    for_lanes(mask, [&](int lane) { same_mask &= s.thread(self.warp, lane).mask == mask; });
    if (same_mask) {
      for_lanes(mask, [&](int lane) {
        const Thread& other = s.thread(self.warp, lane);
        if (other.meeting != kind)
          s.stop(text("lanes of one warp call different functions with one mask: ", describe(self), " ", name(kind), " at ", describe(site),
                      ", ", describe(other), " ", name(other.meeting), " at ", describe(other.site)));
      });
      if (kind == Meeting::syncwarp)
        ++warp.meetings[static_cast<std::size_t>(lowest)];
      else
        exchange(s, self.warp, kind, mask);
      warp.waiting &= ~mask;
      s.make_ready(self.warp, mask);
    }
  }
  s.suspend();
  self.meeting = Meeting::none;
  self.mask = 0;
  if (sync) tsan_acquire(sync);
  return self.received;
}

void meet_matrix(Meeting kind, void* out, const void* a, const void* b, Site site) {
  Scheduler& s = scheduler();
  Thread& self = s.running();
  self.out = out;
  self.a = a;
  self.b = b;
  check_matrix_operand(s, kind, site);
  meet_lanes(kind, 0xffffffffu, 0, 0, site);
}

int meet_block(Meeting kind, bool predicate, Site site) { return scheduler().meet_block(kind, predicate, site); }

void fence() { scheduler().running().fenced = true; }
bool atomics_order_memory() { return scheduler().running().fenced; }

void stop_kernel(const char* what, Site site) {
  Scheduler& s = scheduler();
  s.stop(text(what, " at ", describe(site), " in ", describe(s.running())));
}

void* dynamic_shared() { return scheduler().shared().dynamic(); }

void* shared_variable(const void* key, std::size_t bytes, std::size_t alignment, const char* name, Site site) {
  Scheduler& s = scheduler();
  const std::size_t before = s.shared().static_bytes();
  void* variable = s.shared().variable(key, bytes, alignment, name);
  const std::size_t total = s.shared().static_bytes();
  if (total != before && (total > s.profile().shared_per_block || total + s.shape().dynamic_shared > s.profile().shared_per_block_optin))
    s.stop(text("static shared variable ", name, " at ", describe(site), " brings the block to ", total, " bytes of static and ",
                s.shape().dynamic_shared, " of dynamic shared memory; profile sm_", s.profile().compute, " has ",
                s.profile().shared_per_block, " and ", s.profile().shared_per_block_optin, " in all"));
  return variable;
}

}  // namespace epitaxy::emulated
