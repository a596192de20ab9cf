// Weights and weighted sums over the steps of sequences, in double.
#include "kernels/sequence_pool.h"

#include <algorithm>
#include <cmath>

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void sequence_weights_forward<Reference>(const SequenceWeightsArgs& args, Stream) {
  for (std::int64_t n = 0; n < args.batch; ++n) {
    const std::int64_t length = steps_of(args.lengths[n], args.steps);
    const float* const scores = args.scores ? args.scores + n * args.steps : nullptr;
    const double maximum = scores ? *std::max_element(scores, scores + length) : 0.0;
    const auto term = [&](std::int64_t t) { return scores ? std::exp(scores[t] - maximum) : 1.0; };
    double sum = 0;
    for (std::int64_t t = 0; t < length; ++t) sum += term(t);
    for (std::int64_t t = 0; t < args.steps; ++t) args.weights[n * args.steps + t] = t < length ? static_cast<float>(term(t) / sum) : 0.0f;
  }
}

template <>
void weighted_sum_forward<Reference>(const WeightedSumArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* const x = static_cast<const T*>(args.x);
    for (std::int64_t n = 0; n < args.batch; ++n)
      for (std::int64_t c = 0; c < args.channels; ++c) {
        double sum = 0;
        for (std::int64_t t = n * args.steps; t < (n + 1) * args.steps; ++t)
          sum += static_cast<double>(args.weights[t]) * to_float(x[t * args.channels + c]);
        static_cast<T*>(args.y)[n * args.channels + c] = round<T>(static_cast<float>(sum));
      }
  });
}

template <>
void weighted_sum_backward<Reference>(const WeightedSumGradientArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    for (std::int64_t row = 0; row < args.batch * args.steps; ++row) {
      const T* const x = static_cast<const T*>(args.x) + row * args.channels;
      const T* const dy = static_cast<const T*>(args.dy) + row / args.steps * args.channels;
      T* const dx = static_cast<T*>(args.dx) + row * args.channels;
      double sum = 0;
      for (std::int64_t c = 0; c < args.channels; ++c) {
        sum += static_cast<double>(to_float(dy[c])) * to_float(x[c]);
        dx[c] = round<T>(args.weights[row] * to_float(dy[c]));
      }
      args.dweights[row] = static_cast<float>(sum);
    }
  });
}

}  // namespace epitaxy
