// The layers a model is made of: plain option structs. Batch size, precision and device are chosen later, when the model is compiled.
#pragma once

#include <array>
#include <variant>

#include "epitaxy/ops/activation.h"
#include "epitaxy/ops/conv2d.h"
#include "epitaxy/ops/pool2d.h"
#include "epitaxy/ops/rnn.h"

namespace epitaxy {

/// How initial weights are drawn, from a seeded CPU generator. He et al. 2015 (fan_in), Glorot & Bengio 2010, Saxe et al. 2014.
enum class Initializer : std::uint8_t { he_normal, he_uniform, glorot_normal, glorot_uniform, orthogonal };

namespace layers {

/// x [H,W,C] -> [P,Q,channels]; parameters weight [channels,R,S,C/groups], bias [channels].
struct Conv2d {
  std::int64_t channels;
  std::array<std::int64_t, 2> kernel{3, 3};
  Conv2dOptions options;  // stride, dilation, padding, padding mode, groups, activation; tf32 is set when compiled
  bool bias = true;
  Initializer initializer = Initializer::he_normal;
};

/// x [H,W,C] -> [H*R,W*S,channels], kernel = stride = {R,S}; parameters weight [C,R,S,channels], bias [channels].
struct ConvTranspose2d {
  std::int64_t channels;
  std::array<std::int64_t, 2> kernel{2, 2};
  bool bias = true;
  Initializer initializer = Initializer::he_normal;
};

/// x [T,C] -> [P,channels]; parameters weight [channels,1,kernel,C/groups], bias [channels]. A Conv2d over an image of one row.
struct Conv1d {
  std::int64_t channels;
  std::int64_t kernel = 3, stride = 1, dilation = 1;
  std::array<std::int64_t, 2> padding{0, 0};  // before, after
  PaddingMode padding_mode = PaddingMode::zeros;
  std::int64_t groups = 1;
  Activation activation = Activation::none;  // relu or none
  bool bias = true;
  Initializer initializer = Initializer::he_normal;
};

/// x [F] -> [units]; parameters weight [units,F], bias [units].
struct Dense {
  std::int64_t units;
  Activation activation = Activation::none;
  bool bias = true;
  Initializer initializer = Initializer::he_normal;
};

/// Per channel (last dimension); parameters weight, bias [C]; state running_mean, running_var [C].
struct BatchNorm {
  float epsilon = 1e-5f;
  float momentum = 0.1f;
};

struct Activate {
  Activation kind = Activation::relu;
  float slope = 0.01f;
};

struct MaxPool2d {
  Pool2dOptions options;
};
struct AveragePool2d {
  Pool2dOptions options;
  bool exclude_padding = false;
};
/// x [T,C] -> [P,C]: a MaxPool2d over an image of one row.
struct MaxPool1d {
  std::int64_t kernel = 2, stride = 2;
  std::array<std::int64_t, 2> padding{0, 0};  // before, after
};
struct GlobalAveragePool {};  // [H,W,C] or [T,C] -> [C]
struct Flatten {};            // [...] -> [F]
struct Dropout {
  float rate = 0.5f;
};
struct Add {};     // two inputs of one shape
struct Concat {};  // two inputs [H,W,C1], [H,W,C2] -> [H,W,C1+C2], or [T,C1], [T,C2] -> [T,C1+C2]
struct Softmax {
  bool log = false;
};

/// What of a sequence y_1..y_T goes on: every step, the last layer's last states, the mean over the steps, or their mean with weights
/// softmax_t(v^T tanh(W y_t + b)) (additive attention: Bahdanau et al. 2015). Steps beyond a sequence's length count nowhere.
enum class SequencePool : std::uint8_t { none, last, mean, attention };
/// x [T,F] -> [T, D P], or pooled [D P] (D directions; P = projection or hidden); parameters weight_ih_l0, ... as ops/rnn.h lists them, all
/// drawn uniformly within 1/sqrt(hidden), as PyTorch does; of attention attention.weight [hidden, D P], attention.bias [hidden] and
/// attention.score [1, hidden].
struct Rnn {
  RnnMode mode = RnnMode::lstm;
  std::int64_t hidden = 64;
  std::int64_t layers = 1;
  bool bidirectional = false;
  std::int64_t projection = 0;  // lstm
  bool bias = true;
  float dropout = 0;  // of what one layer hands to the next, in training
  SequencePool pool = SequencePool::none;
};

}  // namespace layers

using Layer = std::variant<layers::Conv2d, layers::ConvTranspose2d, layers::Dense, layers::BatchNorm, layers::Activate, layers::MaxPool2d,
                           layers::AveragePool2d, layers::GlobalAveragePool, layers::Flatten, layers::Dropout, layers::Add, layers::Concat,
                           layers::Softmax, layers::Rnn, layers::Conv1d, layers::MaxPool1d>;

std::string_view name(layers::SequencePool pool);
/// none, last, mean or attention. Rejects anything else.
layers::SequencePool parse_sequence_pool(std::string_view name);

/// 3x3 convolution, zero padding 1: a common layer in short.
layers::Conv2d conv3x3(std::int64_t channels, std::int64_t stride = 1, bool bias = true, Activation activation = Activation::none);
/// 1x1 convolution.
layers::Conv2d conv1x1(std::int64_t channels, std::int64_t stride = 1, bool bias = true, Activation activation = Activation::none);

}  // namespace epitaxy
