// Launchers of the losses and of accuracy. Each writes its mean; the losses also write the gradient of the prediction.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

/// The workspace holds two lists of partial sums, at most this many each: losses, and weights of the targets.
inline constexpr int kLossPartials = 1024;
inline constexpr std::size_t kLossWorkspace = 2 * kLossPartials * 4;
/// A target that does not count.
inline constexpr std::int32_t kIgnoredTarget = -1;

enum class ElementLoss : std::uint8_t { squared, absolute, huber, binary_cross_entropy };

struct ElementLossArgs {
  const void* y;        // [count]
  const float* target;  // [count]
  float* loss;          // [1]
  void* gradient;       // [count]
  void* workspace;      // kLossWorkspace bytes
  std::int64_t count;
  DType dtype;
  ElementLoss kind;
  float delta;
};

struct CrossEntropyArgs {
  const void* logits;          // [rows, classes]
  const std::int32_t* target;  // [rows]
  const float* weights;        // [classes] or null
  float* loss;                 // [1]
  void* gradient;              // [rows, classes]
  void* workspace;             // kLossWorkspace bytes
  std::int64_t rows, classes;
  DType dtype;
  float smoothing;
};

struct AccuracyArgs {
  const void* logits;          // [rows, classes]
  const std::int32_t* target;  // [rows]
  float* accuracy;             // [1]
  void* workspace;             // kLossWorkspace bytes
  std::int64_t rows, classes;
  DType dtype;
};

template <class World>
void element_loss(const ElementLossArgs& args, Stream stream);
template <class World>
void softmax_cross_entropy(const CrossEntropyArgs& args, Stream stream);
template <class World>
void accuracy(const AccuracyArgs& args, Stream stream);

}  // namespace epitaxy
