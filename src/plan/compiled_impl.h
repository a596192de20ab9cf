// What is behind a CompiledModel: its memory, its plans, the steps it has taken.
#pragma once

#include "plan/execution.h"
#include "plan/persistent.h"
#include "plan/step_graph.h"

namespace epitaxy {

/// A compiled plan of one batch size with the values it is fed through.
struct Compiled {
  std::unique_ptr<Plan> plan;
  std::unique_ptr<Execution> execution;
  ValueId input, output, lengths = kNoValue, target = kNoValue, samples = kNoValue;
  std::map<ValueId, Tensor> fixed;
};
using Plans = std::map<std::int64_t, Compiled>;

struct CompiledModel::Impl {
  Impl(Model model, CompileOptions options);

  /// The plans of these batch sizes, made where missing; the arena grows to the largest and all plans move to it. Changes nothing when
  /// memory is short.
  void reserve(std::span<const std::int64_t> training, std::span<const std::int64_t> evaluation);
  Compiled& plan_of(std::int64_t batch, bool training);
  Compiled make(std::int64_t batch, bool training);
  /// Bytes that a plan's arena may take.
  std::size_t arena_budget(const StepGraph& step) const;
  /// Memory of the values that outlive a step.
  std::map<ValueId, Tensor> fixed_tensors(const StepGraph& step) const;

  void ensure_free(std::size_t bytes, const std::string& what) const;
  void check_batch(const Tensor& given, const TensorSpec& wanted, const char* what) const;
  /// Makes `items` what of a batch feeds a plan's inputs. Without lengths, all sequences are whole.
  void gather_inputs(const Compiled& compiled, const Tensor& inputs, const Tensor& lengths);

  void write(const Tensor& to, const void* from);
  std::vector<float> read(const Tensor& from) const;
  /// The view of parameter i in a flat array.
  Tensor flat_view(const Tensor& flat, std::size_t i, const Shape& shape) const;
  void write_parameter(std::size_t i, const Tensor& value);
  /// Brings the 16-bit copy of the parameters up to date.
  void round_copy();
  /// Moves finished steps' metrics from the ring to the host.
  void drain_metrics();

  Model model;
  CompileOptions options;
  Context context;
  Persistent persistent;
  FlatLayout layout;
  std::shared_ptr<Buffer> arena;
  Plans plans[2];  // of evaluation and of training, by batch size
  Feed feed;
  std::vector<Feed::Item> items;    // of the step at hand
  std::vector<std::int32_t> whole;  // lengths of whole sequences
  std::int64_t steps = 0, metrics_read = 0;
  std::vector<StepMetrics> metrics;
};

}  // namespace epitaxy
