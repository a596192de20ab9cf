// Arguments of the metric ring.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"

namespace epitaxy {

struct RecordMetricsArgs {
  float* ring;               // [rows, 2]
  const std::int64_t* step;  // [1]
  const float* loss;         // [1]
  const float* metric;       // [1]
  std::int64_t rows;
};

template <class World>
void record_metrics_forward(const RecordMetricsArgs& args, Stream stream);

}  // namespace epitaxy
