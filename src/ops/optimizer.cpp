#include "epitaxy/ops/optimizer.h"

#include "kernels/optimizer.h"
#include "ops/device_wide.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

const TensorSpec kScalar{DType::fp32, {1}};
const TensorSpec kStep{DType::int64, {1}};

void require_flat(const char* operation, std::span<const TensorSpec> inputs, std::size_t arrays) {
  require(inputs[0].dtype == DType::fp32 && inputs[0].shape.rank() == 1, operation, ": parameters must be fp32 [M], got ", inputs[0]);
  for (std::size_t i = 1; i < arrays; ++i)
    require(inputs[i] == inputs[0], operation, ": array ", i, " is ", inputs[i], ", parameters are ", inputs[0]);
  for (std::size_t i = arrays; i < arrays + 2; ++i)
    require(inputs[i] == kScalar, operation, ": ", i == arrays ? "learning_rate" : "gradient_scale", " must be ", kScalar, ", got ",
            inputs[i]);
}

/// The state arrays and, for a 16-bit copy, the copy.
std::vector<TensorSpec> updated(const TensorSpec& parameters, std::size_t arrays, DType copy) {
  std::vector<TensorSpec> specs(arrays, parameters);
  if (copy != DType::fp32) specs.push_back({copy, parameters.shape});
  return specs;
}

void require_options(const char* operation, float weight_decay, std::int64_t decay_count, DType copy) {
  require(weight_decay >= 0, operation, ": weight_decay must not be negative, got ", weight_decay);
  require(decay_count >= 0, operation, ": decay_count must not be negative, got ", decay_count);
  require(is_floating(copy), operation, ": copy must be fp32 (none), bf16 or fp16, got ", name(copy));
}

void require_decay_count(const char* operation, std::int64_t decay_count, const TensorSpec& parameters) {
  require(decay_count <= parameters.shape[0], operation, ": decay_count ", decay_count, " exceeds the parameters ", parameters);
}

class Sgd final : public Operation {
 public:
  explicit Sgd(const SgdOptions& options) : options_(options) {
    require_options("sgd", options.weight_decay, options.decay_count, options.copy);
    require(options.momentum >= 0 && options.momentum < 1, "sgd: momentum must lie in [0, 1), got ", options.momentum);
    require(!options.nesterov || options.momentum > 0, "sgd: Nesterov needs a momentum above 0");
  }
  std::string name() const override { return "sgd"; }
  std::string details() const override {
    return text("momentum ", options_.momentum, options_.nesterov ? " Nesterov" : "", ", weight decay ", options_.weight_decay);
  }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("sgd", inputs.size(), 5, 5);
    require_flat("sgd", inputs, 3);
    require_decay_count("sgd", options_.decay_count, inputs[0]);
    return updated(inputs[0], 2, options_.copy);
  }
  void run(const Call& call) const override {
    const auto in = [&](std::size_t i) { return call.inputs[i].as<float>(); };
    const SgdArgs args{.parameters = in(0),
                       .gradients = in(1),
                       .velocity = in(2),
                       .learning_rate = in(3),
                       .gradient_scale = in(4),
                       .new_parameters = call.outputs[0].as<float>(),
                       .new_velocity = call.outputs[1].as<float>(),
                       .copy = options_.copy == DType::fp32 ? nullptr : call.outputs[2].data(),
                       .count = call.inputs[0].count(),
                       .decay_count = options_.decay_count,
                       .copy_dtype = options_.copy,
                       .momentum = options_.momentum,
                       .weight_decay = options_.weight_decay,
                       .nesterov = options_.nesterov};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { sgd<World>(args, stream); });
  }
  int in_place(int output) const override { return output == 0 ? 0 : output == 1 ? 2 : -1; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    return {6 * static_cast<double>(inputs[0].shape.count()), Operation::cost(inputs).bytes};
  }

 private:
  SgdOptions options_;
};

class Adam final : public Operation {
 public:
  explicit Adam(const AdamOptions& options) : options_(options) {
    require_options("adam", options.weight_decay, options.decay_count, options.copy);
    require(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1,
            "adam: beta1 and beta2 must lie in [0, 1), got ", options.beta1, " and ", options.beta2);
    require(options.epsilon > 0, "adam: epsilon must be positive, got ", options.epsilon);
  }
  std::string name() const override { return options_.decoupled ? "adamw" : "adam"; }
  std::string details() const override {
    return text("beta ", options_.beta1, " ", options_.beta2, ", epsilon ", options_.epsilon, ", weight decay ", options_.weight_decay);
  }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("adam", inputs.size(), 7, 7);
    require_flat("adam", inputs, 4);
    require(inputs[6] == kStep, "adam: step must be ", kStep, ", got ", inputs[6]);
    require_decay_count("adam", options_.decay_count, inputs[0]);
    return updated(inputs[0], 3, options_.copy);
  }
  void run(const Call& call) const override {
    const auto in = [&](std::size_t i) { return call.inputs[i].as<float>(); };
    const AdamArgs args{.parameters = in(0),
                        .gradients = in(1),
                        .m = in(2),
                        .v = in(3),
                        .learning_rate = in(4),
                        .gradient_scale = in(5),
                        .step = call.inputs[6].as<std::int64_t>(),
                        .new_parameters = call.outputs[0].as<float>(),
                        .new_m = call.outputs[1].as<float>(),
                        .new_v = call.outputs[2].as<float>(),
                        .copy = options_.copy == DType::fp32 ? nullptr : call.outputs[3].data(),
                        .count = call.inputs[0].count(),
                        .decay_count = options_.decay_count,
                        .copy_dtype = options_.copy,
                        .beta1 = options_.beta1,
                        .beta2 = options_.beta2,
                        .epsilon = options_.epsilon,
                        .weight_decay = options_.weight_decay,
                        .decoupled = options_.decoupled};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { adam<World>(args, stream); });
  }
  int in_place(int output) const override { return output == 0 ? 0 : output < 3 ? output + 1 : -1; }
  Cost cost(std::span<const TensorSpec> inputs) const override {
    return {12 * static_cast<double>(inputs[0].shape.count()), Operation::cost(inputs).bytes};
  }

 private:
  AdamOptions options_;
};

class AdvanceStep final : public Operation {
 public:
  std::string name() const override { return "advance_step"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("advance_step", inputs.size(), 1, 1);
    require(inputs[0] == kStep, "advance_step: step must be ", kStep, ", got ", inputs[0]);
    return {inputs[0]};
  }
  void run(const Call& call) const override {
    const auto* step = call.inputs[0].as<std::int64_t>();
    auto* next = call.outputs[0].as<std::int64_t>();
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { advance_step<World>(step, next, stream); });
  }
  int in_place(int) const override { return 0; }
};

class ClipByGlobalNorm final : public Operation {
 public:
  explicit ClipByGlobalNorm(float maximum) : maximum_(maximum) {
    require(maximum > 0, "clip_by_global_norm: maximum must be positive, got ", maximum);
  }
  std::string name() const override { return "clip_by_global_norm"; }
  std::string details() const override { return text("maximum ", maximum_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("clip_by_global_norm", inputs.size(), 1, 1);
    require(inputs[0].dtype == DType::fp32, "clip_by_global_norm: gradients must be fp32, got ", inputs[0]);
    return {kScalar, kScalar};
  }
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context& context, const Prepared*) const override {
    const std::int64_t count = inputs[0].shape.count();
    if constexpr (kHasCuda)
      if (context.device().kind == DeviceKind::cuda) return global_norm_scratch_bytes(count);
    return static_cast<std::size_t>((count + kNormChunk - 1) / kNormChunk) * sizeof(double);
  }
  void run(const Call& call) const override {
    const Tensor& gradients = call.inputs[0];
    const GlobalNormArgs args{gradients.as<float>(),
                              call.outputs[0].as<float>(),
                              call.outputs[1].as<float>(),
                              call.workspace.data(),
                              call.workspace.bytes(),
                              gradients.count(),
                              maximum_};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { global_norm<DeviceWide<World>>(args, stream); });
  }

 private:
  float maximum_;
};

}  // namespace

OperationPtr sgd(const SgdOptions& options) { return std::make_shared<Sgd>(options); }
OperationPtr adam(const AdamOptions& options) { return std::make_shared<Adam>(options); }
OperationPtr advance_step() { return std::make_shared<AdvanceStep>(); }
OperationPtr clip_by_global_norm(float maximum) { return std::make_shared<ClipByGlobalNorm>(maximum); }

}  // namespace epitaxy
