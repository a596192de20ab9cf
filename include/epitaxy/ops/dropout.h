// Inverted dropout (Srivastava et al. 2014).
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// (x, step int64 [1]) -> y = x * keep / (1 - rate); element i is kept where uniform(philox(seed, i / 4, ordinal, dropout, step)[i % 4])
/// >= rate. The mask is never stored: the gradient is the same operation on dy. rate in [0, 1); `ordinal` numbers the layer.
OperationPtr dropout(float rate, std::uint64_t seed, std::uint32_t ordinal);

}  // namespace epitaxy
