#include "kernels/last_state.h"

#include "epitaxy/ops/rnn.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class LastState final : public Operation {
 public:
  explicit LastState(std::int64_t directions) : directions_(directions) {
    require(directions == 1 || directions == 2, "last_state: directions must be 1 or 2, got ", directions);
  }
  std::string name() const override { return "last_state"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("last_state", inputs.size(), 1, 1);
    const TensorSpec& h = inputs[0];
    require(is_floating(h.dtype) && h.shape.rank() == 3 && h.shape.count() > 0 && h.shape[0] % directions_ == 0,
            "last_state: h_n must be floating [layers * ", directions_, ", N, size], got ", h);
    return {{h.dtype, {h.shape[1], directions_ * h.shape[2]}}};
  }
  void run(const Call& call) const override {
    const Tensor& h = call.inputs[0];
    const LastStateArgs args{h.data(), call.outputs[0].data(), h.dim(0) / directions_, directions_, h.dim(1), h.dim(2), h.dtype()};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { last_state_forward<World>(args, stream); });
  }
  void differentiate(GradientBuilder& builder) const override {
    const std::int64_t layers = builder.spec(builder.input(0)).shape[0] / directions_;
    builder.set(0, builder.emit(last_state_gradient(layers, directions_), {builder.gradient(0)})[0]);
  }

 private:
  std::int64_t directions_;
};

class LastStateGradient final : public Operation {
 public:
  LastStateGradient(std::int64_t layers, std::int64_t directions) : layers_(layers), directions_(directions) {
    require(layers >= 1 && (directions == 1 || directions == 2), "last_state_gradient: ", layers, " layers, ", directions, " directions");
  }
  std::string name() const override { return "last_state_gradient"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("last_state_gradient", inputs.size(), 1, 1);
    const TensorSpec& dy = inputs[0];
    require(is_floating(dy.dtype) && dy.shape.rank() == 2 && dy.shape[1] % directions_ == 0 && dy.shape.count() > 0,
            "last_state_gradient: dy must be floating [N, ", directions_, " * size], got ", dy);
    return {{dy.dtype, {layers_ * directions_, dy.shape[0], dy.shape[1] / directions_}}};
  }
  void run(const Call& call) const override {
    const Tensor& dy = call.inputs[0];
    const LastStateArgs args{dy.data(), call.outputs[0].data(), layers_, directions_, dy.dim(0), dy.dim(1) / directions_, dy.dtype()};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { last_state_backward<World>(args, stream); });
  }

 private:
  std::int64_t layers_, directions_;
};

}  // namespace

OperationPtr last_state(std::int64_t directions) { return std::make_shared<LastState>(directions); }
OperationPtr last_state_gradient(std::int64_t layers, std::int64_t directions) {
  return std::make_shared<LastStateGradient>(layers, directions);
}

}  // namespace epitaxy
