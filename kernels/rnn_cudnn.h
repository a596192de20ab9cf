// What cuDNN is told of a recurrent network, and where its weight space keeps each parameter: plain functions, tested without a GPU.
#pragma once

#include <functional>
#include <vector>

#include "kernels/rnn.h"

namespace epitaxy {

/// cudnnSetRNNDescriptor_v8's arguments in words.
struct CudnnRnn {
  enum class Cell : std::uint8_t { relu, tanh, lstm, gru } cell;
  enum class Math : std::uint8_t { fma, tf32, tensor } math;  // fma: strict fp32
  bool double_bias, bidirectional;
  DType data;
  std::int32_t input, hidden, projection, layers;  // projection = hidden where there is none, as cuDNN wants it
  bool operator==(const CudnnRnn&) const = default;
};
inline CudnnRnn cudnn_rnn(const RnnProblem& p) {
  const RnnOptions& o = p.options;
  const auto size = [&](std::int64_t value) {
    require(value <= 0x7fffffff, name(o.mode), ": cuDNN counts in 32 bits, got ", value);
    return static_cast<std::int32_t>(value);
  };
  size(p.batch), size(p.steps);
  return {.cell = o.mode == RnnMode::lstm       ? CudnnRnn::Cell::lstm
                  : o.mode == RnnMode::gru      ? CudnnRnn::Cell::gru
                  : o.mode == RnnMode::rnn_tanh ? CudnnRnn::Cell::tanh
                                                : CudnnRnn::Cell::relu,
          .math = p.dtype != DType::fp32 ? CudnnRnn::Math::tensor
                  : o.tf32               ? CudnnRnn::Math::tf32
                                         : CudnnRnn::Math::fma,
          .double_bias = o.bias,
          .bidirectional = o.bidirectional,
          .data = p.dtype,
          .input = size(p.input),
          .hidden = size(p.hidden()),
          .projection = size(p.output()),
          .layers = size(o.layers)};
}

/// One matrix and bias of the weight space, as cudnnGetRNNWeightParams answers for a pseudo-layer (layer * directions + direction) and a
/// linear layer: the gates of weight_ih, then those of weight_hh, then weight_hr (8), each [rows, columns] by rows. In elements; -1: none.
struct CudnnRnnPart {
  std::int64_t matrix = -1, rows = 0, columns = 0;
  std::int64_t bias = -1, bias_count = 0;
};
using CudnnRnnQuery = std::function<CudnnRnnPart(std::int32_t pseudo_layer, std::int32_t linear_layer)>;

/// `count` elements of a parameter from `offset` on lie in the weight space from `space` on. Neighbours are merged.
struct RnnCopy {
  int parameter;
  std::int64_t offset, space, count;
  bool operator==(const RnnCopy&) const = default;
};
/// All parts of all parameters. The gates' order is PyTorch's own (i, f, g, o; r, z, n). Fails where cuDNN's shapes are not the network's.
std::vector<RnnCopy> cudnn_rnn_copies(const RnnProblem& problem, const CudnnRnnQuery& query);

}  // namespace epitaxy
