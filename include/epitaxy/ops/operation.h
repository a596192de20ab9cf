// What an operation is: shapes, work, gradient rule, tolerance. A model's graph and a plan are lists of these.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "epitaxy/tensor.h"

namespace epitaxy {

/// Where an operation runs.
struct Context {
  DeviceBackend* backend = nullptr;
  Stream stream;
  bool reference = false;  // on the CPU: the plain reference loops instead of the fast path
  Device device() const { return backend->device(); }
};

/// A context on a device's default stream.
Context make_context(Device device);
/// The backend of a device; rejects one that this build or machine lacks.
DeviceBackend& backend_of(Device device);

/// What an implementation keeps between runs of one planned node: library descriptors, chosen algorithms. Made once, by prepare().
struct Prepared {
  virtual ~Prepared() = default;
};

/// One run. Outputs and workspace are allocated by the caller; operations never allocate.
struct Call {
  std::span<const Tensor> inputs;
  std::span<const Tensor> outputs;
  Tensor workspace;  // uint8 [workspace_bytes]
  Prepared* prepared = nullptr;
  const Context& context;
};

struct Cost {
  double flops = 0;  // multiply and add counted as two
  double bytes = 0;  // least traffic: inputs read once, outputs written once
};

/// |result - reference| <= 2 * unit_roundoff(out) * |reference| + factor * terms * 2^-24 * magnitude; 2, for both are rounded. The
/// magnitude is, per element, the reference's result for absolute inputs (sum |a*b|, for operations linear in each input), or the output's
/// largest |reference|. `math_roundoff` replaces 2^-24 where products are rounded (tf32: 2^-11).
struct Tolerance {
  enum class Magnitude { absolute_inputs, largest_output };
  double factor = 4;
  double terms = 1;
  Magnitude magnitude = Magnitude::largest_output;
  double math_roundoff = 0x1p-24;
};

class Graph;
using ValueId = int;
inline constexpr ValueId kNoValue = -1;
class Operation;
using OperationPtr = std::shared_ptr<const Operation>;

/// Handed to a gradient rule: the node's values, and where the gradients go.
class GradientBuilder {
 public:
  GradientBuilder(Graph& graph, int node, std::span<const ValueId> output_gradients, std::span<const bool> wanted);
  ValueId input(int i) const;
  ValueId output(int i) const;
  /// The gradient of output i, or kNoValue where nothing downstream depends on it.
  ValueId gradient(int i) const;
  const TensorSpec& spec(ValueId value) const;
  /// Whether the gradient of input i is needed.
  bool wants(int i) const;
  /// Adds a node to the backward graph and answers its outputs.
  std::vector<ValueId> emit(OperationPtr operation, std::vector<ValueId> inputs);
  /// States the gradient of input i.
  void set(int i, ValueId gradient);
  std::span<const ValueId> results() const { return results_; }

 private:
  Graph& graph_;
  int node_;
  std::vector<ValueId> output_gradients_, results_;
  std::vector<bool> wanted_;
};

/// Immutable description of one operation with its options. Shapes come from the inputs.
class Operation {
 public:
  virtual ~Operation() = default;
  /// "conv2d": the name it has in every room.
  virtual std::string name() const = 0;
  /// Options as text for `epitaxy plan`, such as "3x3 stride 2"; may be empty.
  virtual std::string details() const { return {}; }
  /// Checks the inputs and derives the outputs; throws a usage Error that names operation and shapes.
  virtual std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const = 0;
  /// Descriptors to keep for this node on this device, or null.
  virtual std::shared_ptr<Prepared> prepare(std::span<const TensorSpec>, const Context&) const { return nullptr; }
  /// This operation bound to each implementation that a tuner may try here, the default first; empty: nothing to choose. All are
  /// deterministic. variant(): which one this is bound to, as text; "" for the default.
  virtual std::vector<std::shared_ptr<const Operation>> candidates(std::span<const TensorSpec>, const Context&) const { return {}; }
  virtual std::string variant() const { return {}; }
  /// Scratch the run needs; pure.
  virtual std::size_t workspace_bytes(std::span<const TensorSpec>, const Context&, const Prepared*) const { return 0; }
  /// Whether only this operation's gradient, on the same device, understands an output: a recurrent network's reserve. Never compared.
  virtual bool is_opaque(int /*output*/) const { return false; }
  /// Bytes that a plan gives an output: its spec's, or more where a library decides what an opaque output takes.
  virtual std::size_t output_bytes(int output, std::span<const TensorSpec> inputs, const Context&, const Prepared*) const {
    return outputs(inputs)[static_cast<std::size_t>(output)].bytes();
  }
  /// False where a run reads device memory on the host (sequence lengths, for cuDNN), which no CUDA graph can hold.
  virtual bool capturable() const { return true; }
  virtual void run(const Call& call) const = 0;
  /// Emits the backward nodes. An operation without a gradient keeps this one, which throws if a gradient is wanted.
  virtual void differentiate(GradientBuilder& builder) const;
  /// The input whose memory this output may take over when that input is not read afterwards; -1: none.
  virtual int in_place(int /*output*/) const { return -1; }
  /// True for reshape: output 0 is input 0's memory under another shape, and nothing runs.
  virtual bool is_view() const { return false; }
  virtual Cost cost(std::span<const TensorSpec> inputs) const;
  virtual Tolerance tolerance(std::span<const TensorSpec>) const { return {}; }
  /// Of one output, where they differ.
  virtual Tolerance tolerance_of(int /*output*/, std::span<const TensorSpec> inputs) const { return tolerance(inputs); }
};

/// Runs an operation now, allocating outputs and workspace: for tests and tools, not for training.
std::vector<Tensor> run(const Operation& operation, const std::vector<Tensor>& inputs, const Context& context);

}  // namespace epitaxy
