// Keeps the metrics of recent steps on the device, so that reading them never stalls a step.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// (ring fp32 [R, 2], step int64 [1], loss fp32 [1], metric fp32 [1]) -> ring with row step % R = {loss, metric}.
OperationPtr record_metrics();

}  // namespace epitaxy
