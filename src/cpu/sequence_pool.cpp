// Weighted sums over the steps of sequences: threads take sequences, the innermost loops run over channels and are vectorised.
#include "kernels/sequence_pool.h"

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

constexpr std::int64_t kChunk = 64;  // channels whose sums are held at once

}  // namespace

template <>
void weighted_sum_forward<Host>(const WeightedSumArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    each_row(args.batch, args.steps * args.channels, [&](std::int64_t n) {
      const float* const weights = args.weights + n * args.steps;
      for (std::int64_t first = 0; first < args.channels; first += kChunk) {
        const std::int64_t size = std::min(kChunk, args.channels - first);
        const T* x = static_cast<const T*>(args.x) + n * args.steps * args.channels + first;
        T* const y = static_cast<T*>(args.y) + n * args.channels + first;
        float sums[kChunk] = {};
        for (std::int64_t t = 0; t < args.steps; ++t, x += args.channels)
          for (std::int64_t c = 0; c < size; ++c) sums[c] += weights[t] * to_float(x[c]);
        for (std::int64_t c = 0; c < size; ++c) y[c] = round<T>(sums[c]);
      }
    });
  });
}

template <>
void weighted_sum_backward<Host>(const WeightedSumGradientArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    each_row(args.batch * args.steps, args.channels, [&](std::int64_t row) {
      const T* const x = static_cast<const T*>(args.x) + row * args.channels;
      const T* const dy = static_cast<const T*>(args.dy) + row / args.steps * args.channels;
      T* const dx = static_cast<T*>(args.dx) + row * args.channels;
      const float weight = args.weights[row];
      constexpr std::int64_t kLanes = 16;
      float sums[kLanes] = {}, sum = 0.0f;
      std::int64_t c = 0;
      for (; c + kLanes <= args.channels; c += kLanes)
        for (std::int64_t i = 0; i < kLanes; ++i) sums[i] += to_float(dy[c + i]) * to_float(x[c + i]);
      for (; c < args.channels; ++c) sum += to_float(dy[c]) * to_float(x[c]);
      for (const float part : sums) sum += part;
      for (c = 0; c < args.channels; ++c) dx[c] = round<T>(weight * to_float(dy[c]));
      args.dweights[row] = sum;
    });
  });
}

}  // namespace epitaxy
