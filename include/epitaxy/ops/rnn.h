// Recurrent networks over sequences: Elman's, LSTM (Hochreiter & Schmidhuber 1997; projection: Sak et al. 2014), GRU (Cho et al. 2014).
// Equations, gate order, and parameter names, order and shapes are those of PyTorch's RNN, LSTM and GRU, so weights pass as they are.
#pragma once

#include <string>
#include <vector>

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// With x the input of a layer at step t, h' and c' the states of step t - 1 and s the logistic function:
///   rnn_tanh, rnn_relu  h = tanh or max(0, .) of (W_ih x + b_ih + W_hh h' + b_hh)
///   lstm  (i, f, g, o) = (s, s, tanh, s)(W_ih x + b_ih + W_hh h' + b_hh), c = f c' + i g, h = o tanh(c), or W_hr (o tanh(c)) if projected
///   gru   (r, z) = s(W_ih x + b_ih + W_hh h' + b_hh), n = tanh(W_in x + b_in + r (W_hn h' + b_hn)), h = (1 - z) n + z h'
enum class RnnMode : std::uint8_t { rnn_tanh, rnn_relu, lstm, gru };
std::string_view name(RnnMode mode);

struct RnnOptions {
  RnnMode mode = RnnMode::lstm;
  std::int64_t hidden = 0;  // H
  std::int64_t layers = 1;  // L, up to 8; a layer's input is the rounded output of the one below
  bool bidirectional = false;
  std::int64_t projection = 0;  // lstm: size of h, below H; 0: none
  bool bias = true;
  bool lengths = false;  // sequences of their own lengths, from 1 to T
  bool initial = false;  // initial states are given; otherwise they are zero
  bool training = true;  // keep what the gradient needs
  bool tf32 = false;
  bool operator==(const RnnOptions&) const = default;
};

struct RnnParameter {
  std::string name;  // weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0, weight_ih_l0_reverse, ..., weight_ih_l1, ...
  Shape shape;       // [G H, input], [G H, P], [G H], [G H], [P, H]: G gates (1, 4 or 3), P = projection or H
};
/// A network's parameters in order. Layers above the first take D P features (D directions). Absent: biases without `bias`, weight_hr
/// without a projection.
std::vector<RnnParameter> rnn_parameters(const RnnOptions& options, std::int64_t input);

/// (x [N,T,I][, lengths int32 [N]][, h0 [L D,N,P][, lstm: c0 [L D,N,H]]], parameters...) -> (y [N,T,D P], h_n [L D,N,P][, lstm: c_n
/// [L D,N,H]][, training: reserve, opaque]).
/// x, weights, states and y are of one floating type, in which h is rounded at every step; biases are fp32 and rounded to it. Beyond a
/// sequence's length y is 0; h_n and c_n are its last states; the reverse direction starts at its last step. Named rnn, lstm or gru.
/// A length outside [1, T] is an error of the run. On CUDA cuDNN does it, and with lengths no CUDA graph can hold it: cuDNN takes lengths
/// from the host, so the run copies them there and waits.
OperationPtr rnn(const RnnOptions& options);

/// Which gradients arrive, and whether dx is wanted.
struct RnnGradients {
  bool y = true, h_n = false, c_n = false;
  bool x = true;
};
/// (rnn's inputs, y, reserve[, dy][, dh_n][, dc_n]) -> ([dx][, dh0[, dc0]], gradients of the parameters, fp32). The reference recomputes
/// the forward pass in double and never reads the reserve.
OperationPtr rnn_gradient(const RnnOptions& options, const RnnGradients& given);

/// (h_n [L D,N,P]) -> [N, D P]: the last layer's states, directions side by side.
OperationPtr last_state(std::int64_t directions);
/// dy [N, D P] -> dh_n [L D,N,P], zero below the last layer.
OperationPtr last_state_gradient(std::int64_t layers, std::int64_t directions);

}  // namespace epitaxy
