// Launchers of the weighted sums over the steps of sequences.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/host_device.h"

namespace epitaxy {

struct SequenceWeightsArgs {
  const std::int32_t* lengths;  // [batch]
  const float* scores;          // [batch, steps], or null: a mean
  float* weights;               // [batch, steps]
  std::int64_t batch, steps;
};

struct WeightedSumArgs {
  const void* x;         // [batch, steps, channels]
  const float* weights;  // [batch, steps]
  void* y;               // [batch, channels]
  std::int64_t batch, steps, channels;
  DType dtype;
};
struct WeightedSumGradientArgs {
  const void* x;
  const float* weights;
  const void* dy;
  void* dx;
  float* dweights;
  std::int64_t batch, steps, channels;
  DType dtype;
};

/// Steps that count of a sequence: never none, never more than there are.
EPITAXY_HOST_DEVICE constexpr std::int64_t steps_of(std::int32_t length, std::int64_t steps) {
  return length < 1 ? 1 : length > steps ? steps : length;
}

template <class World>
void sequence_weights_forward(const SequenceWeightsArgs& args, Stream stream);
template <class World>
void weighted_sum_forward(const WeightedSumArgs& args, Stream stream);
template <class World>
void weighted_sum_backward(const WeightedSumGradientArgs& args, Stream stream);

}  // namespace epitaxy
