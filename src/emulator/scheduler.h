// The state of a running grid: one block at a time, its threads on fibers, one OS thread in all.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "emulator/emulator.h"
#include "emulator/fiber.h"
#include "emulator/runtime.h"
#include "emulator/shared_memory.h"

namespace epitaxy::emulated {

inline constexpr int kMaxThreads = 1024;
inline constexpr int kMaxWarps = kMaxThreads / 32;

/// A cp.async that was issued and has not landed.
struct PendingCopy {
  void* to;
  const void* from;
  unsigned bytes, valid;
  std::uint64_t group;  // commits before it
};

struct Hopper;  // hopper.h

struct Thread {
  uint3 index{};
  int linear = 0, lane = 0, warp = 0;
  Fiber* fiber = nullptr;  // null before the thread's first step
  bool finished = false;
  bool fenced = false;  // has executed a __threadfence
  // what it waits for
  Meeting meeting = Meeting::none;
  Site site{};
  unsigned mask = 0;
  // what it brings to a meeting of lanes, and receives
  std::uint64_t value = 0, received = 0;
  int source = 0;
  void* out = nullptr;
  const void* a = nullptr;
  const void* b = nullptr;
  // cp.async
  std::vector<PendingCopy> copies;
  std::uint64_t commits = 0;
  // the mbarrier it waits at
  const std::uint64_t* barrier = nullptr;
  unsigned parity = 0;
};

struct Warp {
  unsigned present = 0;                      // lanes that the block has
  unsigned ready = 0;                        // lanes that could run now
  unsigned waiting = 0;                      // lanes at a meeting of lanes
  std::array<std::uint32_t, 32> meetings{};  // completed __syncwarps by lowest lane
};

/// The fibers, threads and shared memory that a block runs on. Under TSan successive blocks use different crews: a crew's fibers
/// know each other's past, so only two crews can show that two blocks race.
struct Crew {
  Crew();
  ~Crew();
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  std::vector<Thread> threads = std::vector<Thread>(kMaxThreads);
  SharedMemory shared;
  std::unique_ptr<Hopper> hopper;
  // TSan's clocks, used in turns so that a thread already at the next meeting orders nothing at this one: end of a block, barriers,
  // __syncwarps by warp and lowest lane.
  std::array<char, 2> end{};
  unsigned blocks = 0;
  std::array<char, 2> barrier{};
  std::array<std::array<std::array<char, 2>, 32>, kMaxWarps> syncwarp{};
};
inline constexpr int kCrews = kThreadSanitizer ? 2 : 1;
inline constexpr int kMaxThreadsOfTwoCrews = 512;  // a TSan fiber costs 0.8 MB; races between larger blocks are not looked for

class Scheduler {
 public:
  void run(const LaunchShape& shape, void (*body)(const void*), const void* closure);

  Thread& running() { return *running_; }
  Thread& thread(int warp, int lane) { return crew_->threads[static_cast<std::size_t>(warp * 32 + lane)]; }
  Warp& warp(int index) { return warps_[static_cast<std::size_t>(index)]; }
  Crew& crew() { return *crew_; }
  SharedMemory& shared() { return crew_->shared; }
  /// For an instruction of sm_90: what the block has under way. Stops on another profile.
  Hopper& hopper(const char* instruction, Site site);
  const LaunchShape& shape() const { return shape_; }
  const DeviceProfile& profile() const { return profile_; }
  bool is_running() const { return running_ != nullptr; }

  int warp_count() const { return warp_count_; }
  int thread_count() const { return count_; }

  int meet_block(Meeting kind, bool predicate, Site site);
  /// Lets lanes of a warp run again.
  void make_ready(int warp, unsigned lanes) {
    warps_[static_cast<std::size_t>(warp)].ready |= lanes;
    ready_warps_ |= 1u << warp;
  }
  void make_ready(const Thread& thread) { make_ready(thread.warp, 1u << thread.lane); }
  /// Lets other threads run until the running one is ready and chosen again.
  void suspend();
  /// Ends the launch with that message: leaves the kernel by an exception that work() catches, so that nothing on the stack leaks.
  [[noreturn]] void stop(const std::string& message);
  std::uint64_t random();

 private:
  void check_shape() const;
  void run_block(std::uint64_t block, Crew& crew);
  void prepare(Crew& crew);
  void rewind();
  void work();
  Thread* choose();
  Thread* next_thread();
  Fiber* new_fiber(Crew& crew);
  Fiber* fiber_for(Thread& thread);
  void begin(Thread& thread);
  void finish(Thread& thread);
  void continue_with(Thread& thread);
  std::string describe_deadlock() const;

  LaunchShape shape_{};
  DeviceProfile profile_{};
  void (*body_)(const void*) = nullptr;
  const void* closure_ = nullptr;
  EmulatorOptions options_;
  std::uint64_t random_state_ = 0;

  std::array<std::unique_ptr<Crew>, kCrews> crews_;
  Crew* crew_ = nullptr;
  Fiber launcher_;
  Thread* running_ = nullptr;
  bool hopper_used_ = false;  // in this block
  int count_ = 0, warp_count_ = 0, finished_ = 0;
  unsigned ready_warps_ = 0;
  std::array<Warp, kMaxWarps> warps_;

  int arrived_ = 0, predicates_ = 0, block_result_ = 0;  // the barrier of the block
  Meeting barrier_kind_ = Meeting::none;
  Site barrier_site_{};
  Thread* barrier_first_ = nullptr;
  unsigned barrier_phase_ = 0;

  char launch_begin_ = 0, launch_end_ = 0;  // TSan: kernel boundaries order everything
  std::string message_;
  std::exception_ptr exception_;
};

extern Scheduler the_scheduler;
inline Scheduler& scheduler() { return the_scheduler; }

/// "__syncthreads", "__shfl_sync", "mma.sync (bf16)", ...
const char* name(Meeting kind);
/// "softmax.cu:42"
std::string describe(Site site);
/// "thread (3,0,0) of block (1,0,0)"
std::string describe(const Thread& thread);
/// The thread's copies land: those of all groups but the latest `groups_left_pending`, or all.
void land_copies(Thread& thread, bool all, unsigned groups_left_pending);
/// "the barrier at byte 1024 of shared memory, phase 0, lacks 1 of 2 arrivals and 16384 bytes"
std::string describe_barrier(const SharedMemory& shared, const std::uint64_t* barrier);
/// Compares what lies around global allocations with what the allocator put there; a description of the first damage, or empty.
std::string damaged_allocation();
/// Profile of the launches whose stream carries none.
const DeviceProfile& default_profile();

}  // namespace epitaxy::emulated
