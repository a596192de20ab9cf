// The emulator's own proof: every planted bug is caught by the means that should catch it, and the corrected kernel is clean.
#include "planted_bugs.h"

#include "planted_bugs.emu.h"

#if EPITAXY_TSAN
namespace {
int races = 0;
bool races_expected = false;
}  // namespace
// TSan asks this before it prints: a race that a test provokes is counted, any other is printed and fails the process.
namespace __tsan {
class ReportDesc;
__attribute__((no_sanitize("thread"))) bool OnReport(const ReportDesc*, bool suppressed) {
  ++races;
  return suppressed || races_expected;
}
}  // namespace __tsan
extern "C" const char* __tsan_default_options() { return "suppress_equal_stacks=0:suppress_equal_addresses=0"; }
#endif

namespace epitaxy::emulated {

bool caught(const EmulatorOptions& options, const std::function<bool()>& run) {
  const Setting setting(options);
#if EPITAXY_TSAN
  races = 0;
  races_expected = true;
#endif
  bool right = false;
  const std::string error = error_of([&] { right = run(); });
#if EPITAXY_TSAN
  races_expected = false;
  if (races > 0) return true;
#endif
  return !right || !error.empty();
}

bool caught_in_random_order(const std::function<bool()>& run) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed)
    if (caught(random_order(seed), run)) return true;
  return false;
}

void expect_clean(const std::function<bool()>& run) {
  in_every_order([&] { EXPECT_FALSE(caught(emulator_options(), run)); });
}

namespace {

using Run = bool (*)();

/// A bug that wrong orders or errors show. `in_forward`: the natural order shows it too.
void expect_caught_by_order(Run bug, Run fixed, bool in_forward) {
  EXPECT_EQ(caught(kForward, bug), in_forward || kThreadSanitizer);
  EXPECT_TRUE(caught(kReverse, bug));
  EXPECT_TRUE(caught_in_random_order(bug));
  expect_clean(fixed);
}

TEST(PlantedBugs, NeighbourReadWithoutBarrier) { expect_caught_by_order(run_neighbour<false>, run_neighbour<true>, false); }
TEST(PlantedBugs, WarpReductionWithoutSyncwarp) { expect_caught_by_order(run_warp_sum<false>, run_warp_sum<true>, true); }
TEST(PlantedBugs, UninitialisedShared) { expect_caught_by_order(run_uninitialised<false>, run_uninitialised<true>, true); }
TEST(PlantedBugs, AsyncCopyReadWithoutBarrier) {
  expect_caught_by_order(run_async_without_barrier<false>, run_async_without_barrier<true>, false);
}

/// A data race that gives right numbers in every order of one OS thread.
void expect_caught_by_tsan(Run bug, Run fixed) {
  expect_clean(fixed);
  if (!kThreadSanitizer) {
    for (const auto& options : {kForward, kReverse, random_order(1)}) EXPECT_FALSE(caught(options, bug));
    GTEST_SKIP() << "only TSan sees this bug: run by the build with EPITAXY_SANITIZE=thread";
  }
  for (const auto& options : {kForward, kReverse, random_order(1)}) EXPECT_TRUE(caught(options, bug)) << describe(options);
}

TEST(PlantedBugs, SharedSumWithoutAtomic) { expect_caught_by_tsan(run_shared_count<false>, run_shared_count<true>); }
TEST(PlantedBugs, GlobalSumWithoutAtomicAcrossBlocks) { expect_caught_by_tsan(run_global_count<false>, run_global_count<true>); }
TEST(PlantedBugs, LastBlockWithoutFence) { expect_caught_by_tsan(run_last_block<false>, run_last_block<true>); }

/// A meeting that cannot happen: an Error in every order that says so.
void expect_refused(const char* name, void (*bug)(int*), void (*fixed)(int*), const std::vector<std::string>& words) {
  in_every_order([&] {
    const std::string message = error_of([&] { run_ones(name, bug); });
    expect_contains(message, {std::string(name) + ": ", "block (0,0,0)", "order "});
    expect_contains(message, words);
    EXPECT_TRUE(run_ones(name, fixed));  // and the emulator goes on working
  });
}

TEST(PlantedBugs, DivergentBarrier) {
  expect_refused("divergent", divergent_barrier_kernel<false>, divergent_barrier_kernel<true>,
                 {"divergent barrier", "__syncthreads at planted_bugs.emu.h:"});
}
TEST(PlantedBugs, EarlyExit) {
  expect_refused("early_exit", early_exit_kernel<false>, early_exit_kernel<true>,
                 {"deadlock", "threads 5 have returned", "threads 0-4,6-63 wait in __syncthreads at planted_bugs.emu.h:"});
}
TEST(PlantedBugs, MismatchedLoops) {
  expect_refused("loops", mismatched_loops_kernel<false>, mismatched_loops_kernel<true>,
                 {"deadlock", "threads 7 wait in __syncthreads", "threads 0-6,8-63 have returned"});
}
TEST(PlantedBugs, ShuffleFromAbsentLane) {
  expect_refused("absent_lane", absent_lane_kernel<false>, absent_lane_kernel<true>, {"reads lane", "mask 0xffff", "thread ("});
}
TEST(PlantedBugs, FullMaskInBranch) {
  expect_refused("full_mask", full_mask_in_branch_kernel<false>, full_mask_in_branch_kernel<true>,
                 {"deadlock", "wait in __any_sync of lanes 0xffffffff", "have returned"});
}
TEST(PlantedBugs, MaskWithoutCaller) {
  expect_refused("mask", mask_without_caller_kernel<false>, mask_without_caller_kernel<true>, {"leaves itself out (0xfffffff0)"});
}
TEST(PlantedBugs, DifferentFunctionsWithOneMask) {
  expect_refused("functions", different_functions_kernel<false>, different_functions_kernel<true>,
                 {"call different functions with one mask", "__any_sync", "__all_sync"});
}

/// Undefined memory accesses that the ASan build (which has UBSan too) stops.
void expect_stopped_by_sanitizer(Run bug, Run fixed, [[maybe_unused]] const char* words) {
  expect_clean(fixed);
#if EPITAXY_ASAN
  for (const auto& options : {kForward, kReverse, random_order(1)}) {
    const Setting setting(options);
    EXPECT_DEATH(bug(), words) << describe(options);
  }
#else
  for (const auto& options : {kForward, kReverse, random_order(1)}) EXPECT_FALSE(caught(options, bug));
  GTEST_SKIP() << "only ASan and UBSan see this bug: run by the build with EPITAXY_SANITIZE=address";
#endif
}

TEST(PlantedBugs, GlobalReadOutOfBounds) {
  expect_stopped_by_sanitizer(run_global_read<false>, run_global_read<true>, "heap-buffer-overflow");
}
TEST(PlantedBugs, DynamicSharedReadOutOfBounds) {
  expect_stopped_by_sanitizer(run_dynamic_read<false>, run_dynamic_read<true>, "use-after-poison");
}
TEST(PlantedBugs, MisalignedFloat4) { expect_stopped_by_sanitizer(run_misaligned<false>, run_misaligned<true>, "misaligned address"); }
TEST(PlantedBugs, ShiftBy33) { expect_stopped_by_sanitizer(run_shift<false>, run_shift<true>, "shift exponent 33 is too large"); }

/// Writes out of bounds: guards show them in every build, ASan stops them at once.
void expect_caught_by_guards(Run bug, Run fixed, [[maybe_unused]] const char* asan_words,
                             [[maybe_unused]] const std::vector<std::string>& words) {
  expect_clean(fixed);
#if EPITAXY_ASAN
  EXPECT_DEATH(bug(), asan_words);
#else
  in_every_order([&] {
    expect_contains(error_of([&] { bug(); }), words);
    EXPECT_TRUE(fixed());
  });
#endif
}

TEST(PlantedBugs, GlobalWriteOutOfBounds) {
  expect_caught_by_guards(run_global_write<false>, run_global_write<true>, "heap-buffer-overflow",
                          {"global_write: out of bounds write 0 bytes past the end of an allocation of 400 bytes"});
}
TEST(PlantedBugs, StaticSharedWriteOutOfBounds) {
  expect_caught_by_guards(run_static_write<false>, run_static_write<true>, "use-after-poison",
                          {"static_write: out of bounds write 0 bytes past the end of s (256 bytes) in block (0,0,0)"});
}

TEST(PlantedBugs, WaitGroupOffByOne) {
  EXPECT_FALSE(caught({EmulatorOrder::forward, AsyncMode::eager, 1}, run_ring<false>));  // why lazy is the default
  EXPECT_TRUE(caught({EmulatorOrder::forward, AsyncMode::lazy, 1}, run_ring<false>));
  EXPECT_TRUE(caught({EmulatorOrder::reverse, AsyncMode::lazy, 1}, run_ring<false>));
  EXPECT_TRUE(caught({EmulatorOrder::forward, AsyncMode::random, 1}, run_ring<false>));
  EXPECT_TRUE(caught_in_random_order(run_ring<false>));
  expect_clean(run_ring<true>);
}

}  // namespace
}  // namespace epitaxy::emulated
