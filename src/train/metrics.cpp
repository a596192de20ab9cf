#include "epitaxy/train/metrics.h"

#include <algorithm>
#include <cmath>

#include "epitaxy/philox.h"

namespace epitaxy {

namespace {

void require_rows(const char* what, const Tensor& logits) {
  require(logits.shape().rank() == 2 && logits.dim(1) >= 1, what, ": outputs must be [N, outputs], got ", logits.shape());
}

/// log(sum(exp(row))) without overflow.
double log_sum_exp(const float* row, std::int64_t count) {
  const double top = *std::max_element(row, row + count);
  double sum = 0;
  for (std::int64_t c = 0; c < count; ++c) sum += std::exp(row[c] - top);
  return top + std::log(sum);
}

double one_loss(LossKind kind, double y, double t, double delta) {
  const double d = std::fabs(y - t);
  switch (kind) {
    case LossKind::mean_squared_error: return d * d;
    case LossKind::mean_absolute_error: return d;
    case LossKind::huber: return d <= delta ? 0.5 * d * d : delta * (d - 0.5 * delta);
    case LossKind::binary_cross_entropy: return std::fmax(y, 0.0) - y * t + std::log1p(std::exp(-std::fabs(y)));
    case LossKind::softmax_cross_entropy: break;
  }
  reject("output_loss: softmax cross entropy takes class targets; use cross_entropy");
}

}  // namespace

std::vector<double> cross_entropy(const Tensor& logits, const Tensor& targets) {
  require_rows("cross_entropy", logits);
  const std::int64_t items = logits.dim(0), classes = logits.dim(1);
  require(targets.count() == items, "cross_entropy: ", items, " rows of logits but ", targets.count(), " targets");
  const float* x = logits.as<float>();
  const std::int32_t* t = targets.as<std::int32_t>();
  std::vector<double> losses(static_cast<std::size_t>(items));
  for (std::int64_t i = 0; i < items; ++i, x += classes) {
    require(t[i] >= 0 && t[i] < classes, "cross_entropy: target ", t[i], " of item ", i, " is not one of ", classes, " classes");
    losses[static_cast<std::size_t>(i)] = log_sum_exp(x, classes) - x[t[i]];
  }
  return losses;
}

std::vector<double> output_loss(LossKind kind, const Tensor& outputs, const Tensor& targets, double huber_delta) {
  require_rows("output_loss", outputs);
  require(targets.shape() == outputs.shape(), "output_loss: outputs ", outputs.shape(), " but targets ", targets.shape());
  const std::int64_t items = outputs.dim(0), width = outputs.dim(1);
  const float *y = outputs.as<float>(), *t = targets.as<float>();
  std::vector<double> losses(static_cast<std::size_t>(items));
  for (std::int64_t i = 0; i < items; ++i) {
    double sum = 0;
    for (std::int64_t c = 0; c < width; ++c) sum += one_loss(kind, y[i * width + c], t[i * width + c], huber_delta);
    losses[static_cast<std::size_t>(i)] = sum / static_cast<double>(width);
  }
  return losses;
}

std::vector<std::int32_t> predicted_classes(const Tensor& logits) {
  require_rows("predicted_classes", logits);
  const std::int64_t classes = logits.dim(1);
  const float* x = logits.as<float>();
  std::vector<std::int32_t> result(static_cast<std::size_t>(logits.dim(0)));
  for (auto& one : result) {
    one = static_cast<std::int32_t>(std::max_element(x, x + classes) - x);
    x += classes;
  }
  return result;
}

Tensor softmax_rows(const Tensor& logits) {
  require_rows("softmax_rows", logits);
  const std::int64_t classes = logits.dim(1);
  const Tensor result(cpu_backend(), {DType::fp32, logits.shape()});
  const float* x = logits.as<float>();
  float* y = result.as<float>();
  for (std::int64_t i = 0; i < logits.dim(0); ++i, x += classes, y += classes) {
    const double total = log_sum_exp(x, classes);
    for (std::int64_t c = 0; c < classes; ++c) y[c] = static_cast<float>(std::exp(x[c] - total));
  }
  return result;
}

Tensor sigmoid_of(const Tensor& logits) {
  const Tensor result(cpu_backend(), {DType::fp32, logits.shape()});
  const float* x = logits.as<float>();
  for (float& y : result.span<float>()) y = static_cast<float>(1 / (1 + std::exp(-static_cast<double>(*x++))));
  return result;
}

std::vector<std::int64_t> confusion_of(std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted, std::int64_t classes) {
  require(truth.size() == predicted.size(), "confusion: ", truth.size(), " true and ", predicted.size(), " predicted classes");
  std::vector<std::int64_t> counts(static_cast<std::size_t>(classes * classes));
  for (std::size_t i = 0; i < truth.size(); ++i) {
    require(truth[i] >= 0 && truth[i] < classes && predicted[i] >= 0 && predicted[i] < classes, "confusion: item ", i, " has class ",
            truth[i], ", predicted ", predicted[i], ", of ", classes);
    ++counts[static_cast<std::size_t>(truth[i] * classes + predicted[i])];
  }
  return counts;
}

double accuracy_of(std::span<const std::int64_t> confusion, std::int64_t classes) {
  std::int64_t right = 0, all = 0;
  for (std::int64_t i = 0; i < classes * classes; ++i) {
    all += confusion[static_cast<std::size_t>(i)];
    if (i % (classes + 1) == 0) right += confusion[static_cast<std::size_t>(i)];
  }
  return all == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(all);
}

double balanced_accuracy_of(std::span<const std::int64_t> confusion, std::int64_t classes) {
  double sum = 0;
  int present = 0;
  for (std::int64_t c = 0; c < classes; ++c) {
    std::int64_t row = 0;
    for (std::int64_t p = 0; p < classes; ++p) row += confusion[static_cast<std::size_t>(c * classes + p)];
    if (row == 0) continue;
    sum += static_cast<double>(confusion[static_cast<std::size_t>(c * (classes + 1))]) / static_cast<double>(row);
    ++present;
  }
  return present == 0 ? 0.0 : sum / present;
}

std::vector<Interval> bootstrap(std::int64_t items, std::uint64_t seed,
                                const std::function<std::vector<double>(std::span<const std::int64_t>)>& statistic, int resamples,
                                double level) {
  require(items >= 1 && resamples >= 2 && level > 0 && level < 1, "bootstrap: needs an item, 2 resamples and a level within 0..1");
  std::vector<std::vector<double>> results;  // [statistic][resample]
  std::vector<std::int64_t> drawn(static_cast<std::size_t>(items));
  Random random(seed, RandomPurpose::bootstrap);
  for (int r = 0; r < resamples; ++r) {
    for (auto& one : drawn) one = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(items)));
    const auto values = statistic(drawn);
    results.resize(values.size());
    for (std::size_t s = 0; s < values.size(); ++s) results[s].push_back(values[s]);
  }
  std::vector<Interval> intervals;
  for (auto& values : results) {
    std::sort(values.begin(), values.end());
    const auto quantile = [&](double q) {
      const double at = q * static_cast<double>(values.size() - 1), below = std::floor(at);
      const auto i = static_cast<std::size_t>(below);
      return i + 1 < values.size() ? values[i] + (at - below) * (values[i + 1] - values[i]) : values.back();
    };
    intervals.push_back({quantile((1 - level) / 2), quantile((1 + level) / 2)});
  }
  return intervals;
}

}  // namespace epitaxy
