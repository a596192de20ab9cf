// How planted bugs are looked for; under TSan a race that a test provokes counts as caught.
#pragma once

#include "emulation.h"

namespace epitaxy::emulated {

/// Whether anything shows in that run: wrong numbers (run returns false), an Error, or a race.
bool caught(const EmulatorOptions& options, const std::function<bool()>& run);
bool caught_in_random_order(const std::function<bool()>& run);
void expect_clean(const std::function<bool()>& run);

}  // namespace epitaxy::emulated
