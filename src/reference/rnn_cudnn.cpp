#include "kernels/rnn_cudnn.h"

namespace epitaxy {

std::vector<RnnCopy> cudnn_rnn_copies(const RnnProblem& p, const CudnnRnnQuery& query) {
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
