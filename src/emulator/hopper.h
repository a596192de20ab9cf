// What the running block's Hopper instructions have under way: barriers in shared memory, TMA copies, wgmma queues, named barriers.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "emulator/scheduler.h"
#include "emulator/sm90.h"

namespace epitaxy::emulated {

/// An mbarrier that was initialised in this block; its numbers are in shared memory.
struct Barrier {
  std::uint64_t* at;
  const Thread* owner;  // initialised it; until its fence TMA must not use the barrier
  bool fenced;
  std::vector<Thread*> waiting;
};

struct BoxCopy {  // a TMA load or store that was started
  TensorMap map;
  std::size_t shared;  // offset in the window
  std::array<int, 5> at;
  std::array<unsigned, 2> offsets;
  std::uint64_t* barrier;  // loads
  Site site;
  std::uint64_t due;  // step at which it happens by itself
  // stores
  const Thread* thread;
  std::uint64_t group;
  bool read;
  std::vector<unsigned char> box;
};

struct NamedBarrier {
  int threads = 0, arrived = 0;
  unsigned phase = 0;
  Site site{};
  std::vector<Thread*> waiting;
  std::array<char, 2> clock{};  // TSan's
};

/// A warp's accumulators: where the lanes have them, and what they hold while a wgmma owns them.
struct Accumulators {
  std::array<float*, 32> lanes;
  int n;
  std::vector<float> values;  // [16][n]
  std::uint64_t last = 0;     // index of the last product on them
  std::uint64_t fences = 0;   // of the warp when they were given back
  bool given_back = false;
};

struct Product {  // a wgmma.mma_async
  Wgmma what;
  Site site;
  unsigned issued = 0;  // by which of the four warps
  std::uint64_t due = 0;
  std::array<Accumulators*, 4> d{};
  std::array<std::array<std::array<std::uint32_t, 4>, 32>, 4> a{};  // registers
};

struct WarpQueue {
  std::uint64_t issued = 0, fences = 0;
  std::vector<std::uint64_t> groups;  // issued at each commit
  std::vector<std::unique_ptr<Accumulators>> accumulators;
  std::vector<int> budgets;  // of setmaxnreg
};

struct Warpgroup {
  std::deque<Product> products;  // not yet done; done in order, each once all four warps have issued it
  std::uint64_t done = 0;
  std::array<WarpQueue, 4> warps;
  std::vector<Thread*> waiting;
  char clock = 0;  // TSan's
};

struct Hopper {
  std::vector<Barrier> barriers;
  std::vector<BoxCopy> loads, stores;
  std::array<std::uint64_t, kMaxThreads> store_commits{};
  std::array<NamedBarrier, 16> named;
  std::array<Warpgroup, kMaxWarps / 4> warpgroups;
  std::uint64_t steps = 0;  // switches between threads since something was started

  void begin_block();
  /// When something started now is due in random mode: soon or late, over orders of magnitude.
  std::uint64_t due(Scheduler& s) const { return steps + (std::uint64_t{1} << s.random() % 14); }
  /// Lets what is due happen.
  void land_due(Scheduler& s);
  /// Lets one load land; false where none is under way.
  bool land_one(Scheduler& s);
  void end_thread(Scheduler& s, const Thread& thread);
  /// What the block has left behind and must not, or an empty string.
  std::string unfinished(int threads) const;

  Barrier& barrier(Scheduler& s, const std::uint64_t* at, const char* instruction, Site site);
  void complete(Scheduler& s, Barrier& barrier);
  void land(Scheduler& s, const BoxCopy& load);
  void read_source(Scheduler& s, BoxCopy& store);
  void write_result(BoxCopy& store);
  /// Does the products before `end` that all warps have issued.
  void multiply(Scheduler& s, Warpgroup& group, std::uint64_t end);
};

/// The emulator's own lists are no business of TSan's.
inline void append(std::vector<Thread*>& waiting, Thread& thread) {
  const Muted muted;
  waiting.push_back(&thread);
}

/// What the last lane to arrive does for its warp.
void warpgroup_operation(Scheduler& s, int warp, Meeting kind);

}  // namespace epitaxy::emulated
