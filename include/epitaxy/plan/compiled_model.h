// A model compiled for a device: describe, compile, fit. Plans are made per batch size and share parameters and one arena.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "epitaxy/nn/model.h"
#include "epitaxy/optim/optimizer.h"
#include "epitaxy/plan/fusion.h"
#include "epitaxy/plan/plan.h"
#include "epitaxy/plan/tuning.h"

namespace epitaxy {

enum class LossKind : std::uint8_t { softmax_cross_entropy, binary_cross_entropy, mean_squared_error, mean_absolute_error, huber };
std::string_view name(LossKind kind);
LossKind parse_loss(std::string_view name);
/// Softmax cross entropy takes int32 class targets: [N], or [N, H, W] for a model that ends in pixels, [H, W, C], where -1 is ignored; the
/// others fp32 [N, T].
constexpr bool is_classification(LossKind kind) { return kind == LossKind::softmax_cross_entropy; }

struct CompileOptions {
  OptimizerOptions optimizer;
  LossKind loss = LossKind::softmax_cross_entropy;
  float label_smoothing = 0.0f;
  float huber_delta = 1.0f;
  std::vector<float> class_weights;  // empty: all 1
  Device device;
  Precision precision = Precision::fp32;
  DType input_dtype = DType::fp32;  // what batches arrive in
  std::vector<float> mean, scale;   // (x - mean) * scale per channel or feature; empty: input goes in as it is
  std::uint64_t seed = 0;
  Augmentation augmentation;       // of training images, on the device, drawn from the seed and each step's Draw
  bool training = true;            // false: no gradients, no optimizer memory
  FusionSet fusion;                // rewrites that merge operations; all by default
  std::uint64_t memory_limit = 0;  // bytes; where a training step needs more it computes values again; 0: what the device has free
  std::shared_ptr<Tuning> tuning;  // implementations to run with, where they are known; null: the defaults
  bool tune = false;               // time the implementations of problems that `tuning` lacks, and add the choices to it
};

/// What a step's augmentation draws from beside the seed: the epoch, and each image's number in the data set.
struct Draw {
  std::int64_t epoch = 0;
  std::span<const std::int64_t> samples;  // [batch]; empty where the model was compiled without augmentation
};

/// An array with its name, on the CPU.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// What a training step computes a second time so that its arena fits.
struct RecomputeReport {
  std::vector<NodeLabel> nodes;             // in the order of the backward pass; empty: nothing
  double flops = 0, bytes = 0;              // work and traffic that this adds to a step
  std::size_t arena_before = 0, arena = 0;  // bytes without and with it
};

/// What the plans take, in bytes.
struct MemorySummary {
  std::size_t parameters = 0;  // master weights and their 16-bit copy
  std::size_t gradients = 0;
  std::size_t optimizer = 0;
  std::size_t states = 0;     // running statistics, scalars, metrics
  std::size_t arena = 0;      // activations and workspaces
  std::size_t slots = 0;      // host memory of the input slots
  RecomputeReport recompute;  // of a training plan that was foretold
  std::size_t total() const { return parameters + gradients + optimizer + states + arena + slots; }
};

/// Loss and metric (accuracy, or mean absolute error) of one training step.
struct StepMetrics {
  float loss = 0, metric = 0;
};

class CompiledModel {
 public:
  CompiledModel(Model model, CompileOptions options);
  ~CompiledModel();
  CompiledModel(const CompiledModel&) = delete;

  const Model& model() const;
  const CompileOptions& options() const;

  /// Makes the plans for these batch sizes now, so that no later step allocates. Fails, naming what is short, when memory is too little.
  void reserve(std::span<const std::int64_t> training, std::span<const std::int64_t> evaluation);
  /// One optimisation step on host tensors (inputs [N, ...] of input_dtype, targets). Returns once the work is queued. `lengths`, int32
  /// [N] in 1..T, are for a model with lengths: empty where all sequences are T long.
  void train_step(const Tensor& inputs, const Tensor& targets, float learning_rate, const Draw& draw = {}, const Tensor& lengths = {});
  /// Metrics of the steps since the last call, oldest first.
  std::vector<StepMetrics> take_metrics();
  /// Predictions for host inputs: fp32 [N, outputs] or [N, H, W, C] on the CPU (logits; no softmax).
  Tensor predict(const Tensor& inputs, const Tensor& lengths = {});
  /// Steps taken so far.
  std::int64_t step() const;

  /// Parameters then running statistics, fp32, by name: what a weights file holds.
  std::vector<NamedTensor> weights() const;
  /// Loads by name; rejects a missing, unknown or misshapen array, naming it.
  void set_weights(const std::vector<NamedTensor>& weights);
  /// Optimizer arrays and the step counter: with weights(), all that exact resuming needs.
  std::vector<NamedTensor> optimizer_state() const;
  void set_optimizer_state(const std::vector<NamedTensor>& state);

  MemorySummary memory() const;
  /// The training plan of a batch size (made if needed): for inspection and tests.
  const Plan& training_plan(std::int64_t batch);
  const Plan& evaluation_plan(std::int64_t batch);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One row of `epitaxy plan`.
struct PlanRow {
  std::string name, kind, details;
  Shape output;  // with the batch
  std::int64_t parameters = 0;
  double forward_flops = 0, training_flops = 0, bytes = 0;
};
/// The layers of a model at a batch size, from graphs alone: nothing is allocated.
std::vector<PlanRow> plan_rows(const Model& model, const CompileOptions& options, std::int64_t batch);
/// The rewrites that fusion makes of a model's training step (or prediction), and the step's traffic in bytes with and without them.
struct FusionReport {
  std::vector<FusedNode> fusions;
  double fused_bytes = 0, unfused_bytes = 0;
};
FusionReport plan_fusions(const Model& model, const CompileOptions& options, std::int64_t batch);
/// The memory that training (or prediction) at this batch size takes, foretold without allocating the arena; where options.memory_limit
/// asks for it, with recomputation. It may exceed the limit: then this is the least that can be reached.
MemorySummary plan_memory(const Model& model, const CompileOptions& options, std::int64_t batch);
/// plan_memory, which fails where that and fixed_overhead exceed the limit, naming the need and the batch or limit that would fit.
MemorySummary require_memory(const Model& model, const CompileOptions& options, std::int64_t batch);
/// Memory that the process takes beyond any plan: libraries, code, threads. Stated beside the planned total.
std::size_t fixed_overhead(Device device);

}  // namespace epitaxy
