#include "epitaxy/ops/record_metrics.h"

#include "kernels/record_metrics.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class RecordMetrics final : public Operation {
 public:
  std::string name() const override { return "record_metrics"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("record_metrics", inputs.size(), 4, 4);
    const TensorSpec scalar{DType::fp32, {1}};
    require(inputs[0].dtype == DType::fp32 && inputs[0].shape.rank() == 2 && inputs[0].shape[1] == 2 && inputs[0].shape[0] >= 1,
            "record_metrics: ring must be fp32 [R, 2], got ", inputs[0]);
    require(inputs[1] == TensorSpec{DType::int64, {1}} && inputs[2] == scalar && inputs[3] == scalar,
            "record_metrics: step, loss and metric must be int64 [1], fp32 [1], fp32 [1], got ", inputs[1], ", ", inputs[2], ", ",
            inputs[3]);
    return {inputs[0]};
  }
  void run(const Call& call) const override {
    const Tensor& ring = call.outputs[0];
    if (ring.data() != call.inputs[0].data())
      call.context.backend->copy(ring.data(), call.inputs[0].data(), ring.bytes(), call.context.stream);
    const RecordMetricsArgs args{ring.as<float>(), call.inputs[1].as<std::int64_t>(), call.inputs[2].as<float>(),
                                 call.inputs[3].as<float>(), ring.dim(0)};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { record_metrics_forward<World>(args, stream); });
  }
  int in_place(int) const override { return 0; }
};

}  // namespace

OperationPtr record_metrics() { return std::make_shared<RecordMetrics>(); }

}  // namespace epitaxy
