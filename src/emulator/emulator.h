// How emulated kernels are run: the order of threads and blocks, and when asynchronous copies land. Every setting is legal on
// a GPU, so a kernel whose results differ between settings has a bug.
#pragma once

#include <cstdint>
#include <string>

namespace epitaxy {

/// Which of the threads that can run goes next; blocks follow the same rule.
enum class EmulatorOrder : std::uint8_t { forward, reverse, random };

/// When a cp.async lands: at once, at the wait that needs it, or at any moment between.
enum class AsyncMode : std::uint8_t { eager, lazy, random };

struct EmulatorOptions {
  EmulatorOrder order = EmulatorOrder::forward;
  AsyncMode async = AsyncMode::lazy;
  std::uint64_t seed = 1;  // of random order and random async; a launch draws from (seed, kernel, grid, block) alone
};

/// The settings of the next launches. Initially from EPITAXY_EMULATOR_ORDER (forward, reverse, random or random:SEED; random also
/// makes copies land at random) and EPITAXY_EMULATOR_ASYNC (eager, lazy, random). A seed that was not given is drawn and printed.
EmulatorOptions& emulator_options();

/// The options that these two settings spell; empty ones keep the default. Rejects what it does not know.
EmulatorOptions parse_emulator_options(const std::string& order, const std::string& async);

/// "order random:7, async lazy": as the environment variables spell it; part of every error message of the emulator.
std::string describe(const EmulatorOptions& options);

}  // namespace epitaxy
