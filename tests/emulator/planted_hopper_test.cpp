// Bugs of asynchronous copies, barriers in shared memory and wgmma: each is caught, and the kernel without them is clean.
#include "planted_bugs.h"
#include "planted_hopper.emu.h"

namespace epitaxy::emulated {
namespace {

constexpr EmulatorOptions kForwardEager{EmulatorOrder::forward, AsyncMode::eager, 1},
    kReverseEager{EmulatorOrder::reverse, AsyncMode::eager, 1};

/// Where a bug must show; in a random order it always must, in one of a few.
struct Shown {
  bool forward, reverse;              // with lazy copies
  bool eager_forward, eager_reverse;  // with eager ones
};

template <Bug kBug>
void expect_caught(const Shown& shown, const std::vector<std::string>& words = {}) {
  if (kThreadSanitizer) {  // sees races in any order
    EXPECT_TRUE(caught(kForward, run_product<kBug>));
  } else {
    EXPECT_EQ(caught(kForward, run_product<kBug>), shown.forward);
    EXPECT_EQ(caught(kReverse, run_product<kBug>), shown.reverse);
    EXPECT_EQ(caught(kForwardEager, run_product<kBug>), shown.eager_forward);
    EXPECT_EQ(caught(kReverseEager, run_product<kBug>), shown.eager_reverse);
  }
  EXPECT_TRUE(caught_in_random_order(run_product<kBug>));
  if (words.empty()) return;
  const Setting setting(kForward);
  bool right = true;
  expect_contains(error_of([&] { right = run_product<kBug>(); }), words);
}

TEST(PlantedHopperBugs, None) { expect_clean(run_product<Bug::none>); }
TEST(PlantedHopperBugs, BarrierInitNotFenced) { expect_caught<Bug::no_init_fence>({true, true, true, true}, {"mbarrier_init_fence()"}); }
TEST(PlantedHopperBugs, WrongParity) { expect_caught<Bug::wrong_parity>({true, true, true, true}); }
TEST(PlantedHopperBugs, NoWaitForFullBuffer) { expect_caught<Bug::no_wait>({true, true, true, false}); }
TEST(PlantedHopperBugs, WrongParityOfProducer) {
  expect_caught<Bug::wrong_producer_parity>({true, true, true, true}, {"deadlock", "threads 128 wait in mbarrier_wait for parity 0",
                                                                       "threads 0-127 wait in mbarrier_wait", "lacks 1 of 1 arrivals"});
}
TEST(PlantedHopperBugs, NoWaitForEmptyBuffer) { expect_caught<Bug::no_empty_wait>({true, true, true, true}); }
TEST(PlantedHopperBugs, BufferReleasedBeforeWgmmaFinished) { expect_caught<Bug::released_before_wait>({false, false, true, false}); }
TEST(PlantedHopperBugs, BufferReleasedOneStepTooEarly) { expect_caught<Bug::released_one_too_early>({false, false, true, false}); }
TEST(PlantedHopperBugs, WaitGroupOffByOne) { expect_caught<Bug::wait_group_off_by_one>({true, true, true, true}); }
TEST(PlantedHopperBugs, AccumulatorsReadBeforeWait) { expect_caught<Bug::accumulators_before_wait>({true, true, true, true}); }
TEST(PlantedHopperBugs, NoWgmmaFence) {
  expect_caught<Bug::no_wgmma_fence>({true, true, true, true}, {"wgmma_fence() is missing", "planted_hopper.emu.h:"});
}
TEST(PlantedHopperBugs, TooFewBytesExpected) { expect_caught<Bug::too_few_bytes>({true, true, true, true}); }
TEST(PlantedHopperBugs, TooManyBytesExpected) {
  expect_caught<Bug::too_many_bytes>({true, true, true, true}, {"deadlock", "lacks 0 of 1 arrivals and 16 bytes"});
}
TEST(PlantedHopperBugs, StoreWithoutProxyFence) {
  expect_caught<Bug::no_store_fence>({true, true, true, true}, {"fence_proxy_async()", "the TMA store at planted_hopper.emu.h:"});
}
TEST(PlantedHopperBugs, ProxyFenceBeforeTheOthersWrote) { expect_caught<Bug::fence_by_one>({true, false, true, false}); }
TEST(PlantedHopperBugs, StoreBeforeTheOthersWrote) { expect_caught<Bug::no_barrier_before_store>({true, false, true, false}); }
TEST(PlantedHopperBugs, StoreNotWaitedFor) {
  expect_caught<Bug::store_not_waited_for>({true, true, false, false}, {"tma_store_wait_read<0>() is missing"});
}

TEST(PlantedHopperBugs, OperandWithoutProxyFence) {
  in_every_order([] { EXPECT_TRUE(caught(emulator_options(), run_operand<false>)); });
  expect_clean(run_operand<true>);
}

TEST(PlantedHopperBugs, MoreRegistersThanTheBlockHas) {
  std::vector<int> y(384);
  const auto run = [&](void (*kernel)(int*)) { launch(stream(), "budget", kernel, 1, 384, 0, y.data()); };
  in_every_order([&] {
    expect_contains(error_of([&] { run(budget_kernel<240>); }), {"asks for 66560 registers in all; the block has 64512"});
    run(budget_kernel<232>);
  });
}

TEST(PlantedHopperBugs, MisuseIsNamed) {
  const std::vector<std::vector<std::string>> words = {
      {"mbarrier.try_wait of a barrier that was not initialised"},
      {"went on by two phases", "parity 0"},
      {"wgmma_fence() is missing"},
      {"by some of the warpgroup's four warps only"},
      {"is under way: a wait is missing"},
      {"accumulators were written while an earlier wgmma owns them"},
      {"bar.sync 0, 128", "1 to 15"},
      {"others have arrived for"},
      {"bar.sync 1, 160", "whole warps of the block"},
      {"different setmaxnreg"},
      {"ask for different counts"},
      {"has other operands than the warps of its warpgroup before it"},
      {"not of the 128-byte swizzle"},
      {"parity 2"},
  };
  for (std::size_t which = 0; which < words.size(); ++which) {
    SCOPED_TRACE(which);
    in_every_order([&] {
      if (which == 1 && emulator_options().order != EmulatorOrder::reverse) return;  // else those others come too late
      const std::string error = error_of([&] { launch(stream(), "misuse", misuse_kernel, 1, 128, 9 * 1024, static_cast<int>(which)); });
      expect_contains(error, {"misuse: "});
      expect_contains(error, words[which]);
      if (which == 7 || which == 1) return;
      expect_contains(error, {which == 9 ? "setmaxnreg" : "planted_hopper.emu.h:"});
    });
  }
}

}  // namespace
}  // namespace epitaxy::emulated
