// Arguments of the recurrent networks: what the reference, the fast CPU path and cuDNN read. There are no kernels of our own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/error.h"
#include "epitaxy/ops/rnn.h"

namespace epitaxy {

inline constexpr std::int64_t kMostRnnLayers = 8;
/// Parameters of one direction of one layer: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr.
inline constexpr int kMostRnnParameters = 5 * 2 * static_cast<int>(kMostRnnLayers);

/// One network on one batch.
struct RnnProblem {
  RnnOptions options;
  DType dtype = DType::fp32;
  std::int64_t batch = 0, steps = 0, input = 0;

  std::int64_t directions() const { return options.bidirectional ? 2 : 1; }
  std::int64_t gates() const { return options.mode == RnnMode::lstm ? 4 : options.mode == RnnMode::gru ? 3 : 1; }
  std::int64_t hidden() const { return options.hidden; }
  /// Features of h.
  std::int64_t output() const { return options.projection ? options.projection : options.hidden; }
  /// Features of a layer's input and of its output.
  std::int64_t input_of(std::int64_t layer) const { return layer ? directions() * output() : input; }
  std::int64_t width() const { return directions() * output(); }
  bool is_lstm() const { return options.mode == RnnMode::lstm; }
  /// Parameters of one direction of one layer.
  int parameters() const { return 2 + (options.bias ? 2 : 0) + (options.projection ? 1 : 0); }
};

/// Which of a direction's parameters; -1 where the network has none.
struct RnnParameterIndex {
  int weight_ih, weight_hh, bias_ih, bias_hh, weight_hr;
};
inline RnnParameterIndex rnn_parameter_index(const RnnProblem& p, std::int64_t layer, std::int64_t direction) {
  const int first = static_cast<int>(layer * p.directions() + direction) * p.parameters();
  return {first, first + 1, p.options.bias ? first + 2 : -1, p.options.bias ? first + 3 : -1,
          p.options.projection ? first + p.parameters() - 1 : -1};
}

/// Addresses in the shapes of ops/rnn.h; null where the options leave something out.
struct RnnArgs {
  RnnProblem problem;
  const void* x;
  const std::int32_t* lengths;
  const void *h0, *c0;
  const void* const* parameters;  // in rnn_parameters' order
  void *y, *h_n, *c_n;
  void* reserve;
};
struct RnnGradientArgs {
  RnnProblem problem;
  const void* x;
  const std::int32_t* lengths;
  const void *h0, *c0;
  const void* const* parameters;
  const void* y;
  const void* reserve;
  const void *dy, *dh_n, *dc_n;
  void *dx, *dh0, *dc0;
  float* const* gradients;  // of the parameters
};

/// Elements of the reserve of the CPU path at one step of one sequence of one direction: activated gates and, lstm, the cell.
inline std::int64_t rnn_saved(const RnnProblem& p) { return p.hidden() * (p.is_lstm() ? 5 : p.options.mode == RnnMode::gru ? 4 : 0); }
/// Bytes of the CPU path's reserve: what is saved, [L D,T,N,saved], then the outputs of all layers but the last, [L - 1,N,T,D P].
inline std::int64_t rnn_reserve_bytes(const RnnProblem& p) {
  const std::int64_t rows = p.batch * p.steps;
  return static_cast<std::int64_t>(size_of(p.dtype)) *
         (p.options.layers * p.directions() * rows * rnn_saved(p) + (p.options.layers - 1) * rows * p.width());
}
/// Rejects a length outside [1, steps]; `lengths` on the host.
inline void check_rnn_lengths(const RnnProblem& p, const std::int32_t* lengths) {
  for (std::int64_t n = 0; lengths && n < p.batch; ++n)
    require(lengths[n] >= 1 && lengths[n] <= p.steps, name(p.options.mode), ": the length of sequence ", n, " must lie in [1, ", p.steps,
            "], got ", lengths[n]);
}

template <class World>
void rnn_forward(const RnnArgs& args, Stream stream);  // Reference
template <class World>
void rnn_backward(const RnnGradientArgs& args, Stream stream);  // Reference

}  // namespace epitaxy
