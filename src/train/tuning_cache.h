// Choices of implementations that earlier runs of this version found on this card.
#pragma once

#include "epitaxy/device.h"
#include "epitaxy/plan/tuning.h"

namespace epitaxy {

/// $EPITAXY_CACHE, else $XDG_CACHE_HOME/epitaxy, else ~/.cache/epitaxy: tuning-<card>-<version>.json in it; "" where there is no such
/// place.
std::string tuning_cache_path(Device device);
/// Empty where there is no file, or a damaged one.
Tuning read_tuning_cache(Device device);
/// Adds these choices to the file. A cache that cannot be written is no failure, for the next run times again: returns why, else "".
std::string write_tuning_cache(Device device, const Tuning& tuning);

}  // namespace epitaxy
