// Cases of the recurrent networks: every mode, layers, directions, projection, lengths, no bias, given states, one sequence, one step, and
// sizes at the edges of the CPU path's tiles (8 sequences, 32 columns), chunks and groups.
#pragma once

#include <array>
#include <cstdint>

#include "epitaxy/ops/rnn.h"

namespace epitaxy::test {

struct RnnCase {
  RnnOptions options;
  std::int64_t batch, steps, input;
};

inline constexpr std::array<RnnMode, 4> kRnnModes{RnnMode::rnn_tanh, RnnMode::rnn_relu, RnnMode::lstm, RnnMode::gru};

inline std::vector<RnnCase> rnn_cases() {
  std::vector<RnnCase> cases;
  for (const RnnMode mode : kRnnModes) {
    cases.push_back({{.mode = mode, .hidden = 3}, 1, 1, 1});
    cases.push_back({{.mode = mode, .hidden = 5, .lengths = true, .initial = true}, 9, 4, 3});
    cases.push_back({{.mode = mode, .hidden = 33, .layers = 2, .bidirectional = true, .lengths = true, .initial = true}, 5, 6, 17});
    cases.push_back({{.mode = mode, .hidden = 16, .layers = 2, .bias = false}, 8, 5, 32});
    cases.push_back({{.mode = mode, .hidden = 4, .layers = 3, .bidirectional = true}, 17, 3, 2});
  }
  cases.push_back({{.mode = RnnMode::lstm, .hidden = 9, .layers = 2, .projection = 4, .lengths = true, .initial = true}, 10, 5, 6});
  cases.push_back({{.mode = RnnMode::lstm, .hidden = 40, .bidirectional = true, .projection = 33, .bias = false}, 3, 4, 7});
  cases.push_back({{.mode = RnnMode::lstm, .hidden = 8, .lengths = true}, 80, 10, 4});  // more blocks than a group takes
  cases.push_back({{.mode = RnnMode::gru, .hidden = 6, .lengths = true}, 70, 9, 5});    // and chunks of some steps
  cases.push_back({{.mode = RnnMode::lstm, .hidden = 40, .layers = 2}, 9, 40, 8});      // long
  return cases;
}

}  // namespace epitaxy::test
