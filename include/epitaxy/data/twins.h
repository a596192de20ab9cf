// Twins: items that occur byte for byte in two parts, which make a test result look better than it is.
#pragma once

#include <cstdint>
#include <vector>

#include "epitaxy/data/dataset.h"

namespace epitaxy {

/// Items of `test` whose input (and length) is identical to some input of `train` (hash, then compare), ascending. Empty where shape or
/// dtype differ.
std::vector<std::int64_t> find_twins(const Dataset& test, const Dataset& train);
std::int64_t count_twins(const Dataset& test, const Dataset& train);

}  // namespace epitaxy
