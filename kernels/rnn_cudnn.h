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
inline std::vector<RnnCopy> cudnn_rnn_copies(const RnnProblem& p, const CudnnRnnQuery& query) {
  std::vector<RnnCopy> copies;
  const auto add = [&](int parameter, std::int64_t offset, std::int64_t space, std::int64_t count) {
    if (!copies.empty()) {
      RnnCopy& last = copies.back();
      if (last.parameter == parameter && last.offset + last.count == offset && last.space + last.count == space) {
        last.count += count;
        return;
      }
    }
    copies.push_back({parameter, offset, space, count});
  };
  const std::int64_t H = p.hidden(), P = p.output(), gates = p.gates();
  for (std::int64_t layer = 0; layer < p.options.layers; ++layer)
    for (std::int64_t direction = 0; direction < p.directions(); ++direction) {
      const auto pseudo = static_cast<std::int32_t>(layer * p.directions() + direction);
      const auto index = rnn_parameter_index(p, layer, direction);
      const auto part = [&](std::int64_t linear, std::int64_t rows, std::int64_t columns) {
        const CudnnRnnPart found = query(pseudo, static_cast<std::int32_t>(linear));
        if (found.matrix < 0 || found.rows != rows || found.columns != columns)
          fail("cuDNN's linear layer ", linear, " of ", name(p.options.mode), " is ", found.rows, " x ", found.columns, ", expected ", rows,
               " x ", columns);
        return found;
      };
      for (const bool recurrent : {false, true}) {
        const std::int64_t columns = recurrent ? P : p.input_of(layer), first = recurrent ? gates : 0;
        for (std::int64_t gate = 0; gate < gates; ++gate)
          add(recurrent ? index.weight_hh : index.weight_ih, gate * H * columns, part(first + gate, H, columns).matrix, H * columns);
        for (std::int64_t gate = 0; p.options.bias && gate < gates; ++gate) {
          const CudnnRnnPart found = part(first + gate, H, columns);
          if (found.bias < 0 || found.bias_count != H)
            fail("cuDNN's bias of ", name(p.options.mode), " has ", found.bias_count, " elements, expected ", H);
          add(recurrent ? index.bias_hh : index.bias_ih, gate * H, found.bias, H);
        }
      }
      if (index.weight_hr >= 0) add(index.weight_hr, 0, part(8, P, H).matrix, P * H);
    }
  return copies;
}

}  // namespace epitaxy
