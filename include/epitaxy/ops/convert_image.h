// Images as they come from the detector to what the network computes in.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// (x uint8, uint16 or fp32 [..., C]; mean fp32 [C]; scale fp32 [C]) -> y = (x - mean) * scale, computed in fp32, rounded to `to`.
/// Also standardises table columns ([N, F]). No gradient.
OperationPtr convert_image(DType to);

}  // namespace epitaxy
