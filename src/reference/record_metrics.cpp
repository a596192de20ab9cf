#include "kernels/record_metrics.h"

namespace epitaxy {

template <>
void record_metrics_forward<Reference>(const RecordMetricsArgs& args, Stream) {
  float* row = args.ring + *args.step % args.rows * 2;
  row[0] = *args.loss;
  row[1] = *args.metric;
}

}  // namespace epitaxy
