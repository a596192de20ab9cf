// Reductions, histograms and permutations.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// x floating [..., C] -> fp32 [C], the sum over everything else in a fixed order: bias gradients.
OperationPtr channel_sum();

/// x uint8, uint16 or fp32 -> int64 [bins]: bin b counts low + b*w <= x < low + (b+1)*w, w = (high-low)/bins; the last includes high;
/// values outside and NaN are not counted.
OperationPtr histogram(std::int64_t bins, float low, float high);

/// () -> int64 [count]: the order of items in `epoch`: sorted by shuffle_key(seed, epoch, item), ties by index.
OperationPtr permutation(std::int64_t count, std::uint64_t seed, std::uint32_t epoch);

}  // namespace epitaxy
