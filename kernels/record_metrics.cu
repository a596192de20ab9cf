// The metric ring: one thread writes one row.
#include "kernels/record_metrics.h"

#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

__global__ void record_metrics_kernel(RecordMetricsArgs args) {
  float* row = args.ring + *args.step % args.rows * 2;
  row[0] = *args.loss;
  row[1] = *args.metric;
}

void run(const RecordMetricsArgs& args, Stream stream) {
  launch(stream, "record_metrics", record_metrics_kernel, dim3(1), dim3(1), 0, args);
}

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {

template <>
void record_metrics_forward<EPITAXY_WORLD::World>(const RecordMetricsArgs& args, Stream stream) {
  EPITAXY_WORLD::run(args, stream);
}

}  // namespace epitaxy
