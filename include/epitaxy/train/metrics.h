// What is measured of a network's outputs: per-item losses, counts of classes, errors, and bootstrap intervals. Host code in double.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "epitaxy/plan/compiled_model.h"

namespace epitaxy {

struct Interval {
  double low = 0, high = 0;
};

/// Per item: -log softmax(logits)[target]. logits fp32 [N, C]; targets int32 [N]; a target outside 0..C-1 is rejected.
std::vector<double> cross_entropy(const Tensor& logits, const Tensor& targets);

/// Per item: the mean over the T outputs of the loss of `kind` (mean_squared_error, mean_absolute_error, huber, binary_cross_entropy).
/// outputs and targets fp32 [N, T], both in the network's units.
std::vector<double> output_loss(LossKind kind, const Tensor& outputs, const Tensor& targets, double huber_delta = 1.0);

/// Per item: the first largest of a row.
std::vector<std::int32_t> predicted_classes(const Tensor& logits);

/// fp32 [N, C]: every row exp(x) / sum exp(x).
Tensor softmax_rows(const Tensor& logits);
/// fp32, elementwise 1 / (1 + exp(-x)).
Tensor sigmoid_of(const Tensor& logits);

/// counts[t * classes + p]: items of class t that were taken for class p.
std::vector<std::int64_t> confusion_of(std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted, std::int64_t classes);
/// The diagonal's share of all items.
double accuracy_of(std::span<const std::int64_t> confusion, std::int64_t classes);
/// The mean recall over the classes that occur.
double balanced_accuracy_of(std::span<const std::int64_t> confusion, std::int64_t classes);

/// Percentile bootstrap (Efron 1979): draws `items` indices with replacement `resamples` times and answers the quantiles of what
/// `statistic` makes of them, interpolated linearly. A function of its arguments alone.
std::vector<Interval> bootstrap(std::int64_t items, std::uint64_t seed,
                                const std::function<std::vector<double>(std::span<const std::int64_t>)>& statistic, int resamples = 2000,
                                double level = 0.95);

}  // namespace epitaxy
