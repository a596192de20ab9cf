#include "epitaxy/train/evaluate.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/file.h"

namespace epitaxy {

namespace {

double mean_of(std::span<const double> values) {
  return values.empty() ? 0.0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Tensor copy_of(const Tensor& tensor) { return copy_to(cpu_backend(), tensor, cpu_backend()); }

void score_classes(Evaluation& result, const Tensor& outputs, const Dataset& data, const EvaluateOptions& options) {
  const std::int64_t classes = outputs.dim(1);
  const auto predicted = predicted_classes(outputs);
  const auto truth = data.targets.span<std::int32_t>();
  result.loss = mean_of(cross_entropy(outputs, data.targets));
  result.confusion = confusion_of(truth, predicted, classes);
  result.accuracy = accuracy_of(result.confusion, classes);
  result.balanced_accuracy = balanced_accuracy_of(result.confusion, classes);
  if (options.resamples == 0) return;
  std::vector<std::size_t> cell(truth.size());  // of each item in the confusion matrix
  for (std::size_t i = 0; i < cell.size(); ++i) cell[i] = static_cast<std::size_t>(truth[i] * classes + predicted[i]);
  std::vector<std::int64_t> counts(result.confusion.size());
  const auto intervals = bootstrap(
      result.items, options.seed,
      [&](std::span<const std::int64_t> items) {
        std::fill(counts.begin(), counts.end(), 0);
        for (const auto item : items) ++counts[cell[static_cast<std::size_t>(item)]];
        return std::vector<double>{accuracy_of(counts, classes), balanced_accuracy_of(counts, classes)};
      },
      options.resamples);
  result.accuracy_interval = intervals[0];
  result.balanced_accuracy_interval = intervals[1];
}

void score_values(Evaluation& result, const Tensor& outputs, const Dataset& data, const CompileOptions& compiled,
                  const Normalisation& normalisation, const EvaluateOptions& options) {
  const std::int64_t width = outputs.dim(1);
  Tensor targets = copy_of(data.targets);
  normalise_targets(normalisation, targets);
  result.loss = mean_of(output_loss(compiled.loss, outputs, targets, compiled.huber_delta));
  const Tensor values = readable_outputs(outputs, compiled.loss, normalisation);
  const float *y = values.as<float>(), *t = data.targets.as<float>();
  // Per item, the means over the targets; per target, the means over the items.
  const auto columns = static_cast<std::size_t>(width), rows = static_cast<std::size_t>(result.items);
  std::vector<double> absolute(rows), square(rows), column_absolute(columns), column_square(columns);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t c = 0; c < columns; ++c) {
      const double d = static_cast<double>(y[i * columns + c]) - static_cast<double>(t[i * columns + c]);
      absolute[i] += std::fabs(d) / static_cast<double>(width);
      square[i] += d * d / static_cast<double>(width);
      column_absolute[c] += std::fabs(d) / static_cast<double>(rows);
      column_square[c] += d * d / static_cast<double>(rows);
    }
  result.mae = mean_of(absolute);
  result.rmse = std::sqrt(mean_of(square));
  result.target_mae = column_absolute;
  for (const double s : column_square) result.target_rmse.push_back(std::sqrt(s));
  if (options.resamples == 0) return;
  const auto intervals = bootstrap(
      result.items, options.seed,
      [&](std::span<const std::int64_t> items) {
        double a = 0, s = 0;
        for (const auto item : items) {
          a += absolute[static_cast<std::size_t>(item)];
          s += square[static_cast<std::size_t>(item)];
        }
        const auto count = static_cast<double>(items.size());
        return std::vector<double>{a / count, std::sqrt(s / count)};
      },
      options.resamples);
  result.mae_interval = intervals[0];
  result.rmse_interval = intervals[1];
}

}  // namespace

Tensor predict_all(CompiledModel& model, const Dataset& data, std::int64_t batch) {
  require(batch >= 1, "predict: a batch of ", batch);
  const std::int64_t items = data.size(), width = model.model().output_shape().count();
  const Tensor outputs = allocate_host({DType::fp32, {items, width}}, "predictions");
  for (std::int64_t first = 0; first < items; first += batch) {
    const std::int64_t count = std::min(batch, items - first);
    const Tensor one = model.predict(data.inputs.slice(first, count), data.lengths ? data.lengths.slice(first, count) : Tensor());
    std::memcpy(outputs.slice(first, count).data(), one.data(), one.bytes());
  }
  return outputs;
}

Tensor readable_outputs(const Tensor& outputs, LossKind loss, const Normalisation& normalisation) {
  if (loss == LossKind::softmax_cross_entropy) return softmax_rows(outputs);
  if (loss == LossKind::binary_cross_entropy) return sigmoid_of(outputs);
  Tensor values = copy_of(outputs);
  restore_targets(normalisation, values);
  return values;
}

Evaluation score(const Tensor& outputs, const Dataset& data, const CompileOptions& compiled, const Normalisation& normalisation,
                 const EvaluateOptions& options) {
  require(data.size() > 0 && data.targets, "evaluate: '", data.source, "' has no items with targets");
  require(outputs.dim(0) == data.size(), "evaluate: ", outputs.dim(0), " outputs for ", data.size(), " items");
  Evaluation result;
  result.task = data.task;
  result.items = data.size();
  result.has_intervals = options.resamples > 0;
  if (data.task == Task::classification)
    score_classes(result, outputs, data, options);
  else
    score_values(result, outputs, data, compiled, normalisation, options);
  return result;
}

Evaluation evaluate(CompiledModel& model, const Dataset& data, const Normalisation& normalisation, std::int64_t batch,
                    const EvaluateOptions& options) {
  require(data.size() > 0, "evaluate: '", data.source, "' has no items");
  return score(predict_all(model, data, batch), data, model.options(), normalisation, options);
}

std::string to_json(const Evaluation& e, const std::vector<std::string>& target_names) {
  nlohmann::ordered_json json{{"items", e.items}, {"loss", e.loss}};
  const auto put = [&](const char* name, double value, const Interval& interval) {
    json[name] = value;
    if (e.has_intervals) json[std::string(name) + "_interval"] = {interval.low, interval.high};
  };
  if (e.task == Task::classification) {
    put("accuracy", e.accuracy, e.accuracy_interval);
    put("balanced_accuracy", e.balanced_accuracy, e.balanced_accuracy_interval);
    const auto classes = static_cast<std::size_t>(std::llround(std::sqrt(static_cast<double>(e.confusion.size()))));
    json["confusion"] = nlohmann::ordered_json::array();
    for (std::size_t c = 0; c < classes; ++c)
      json["confusion"].push_back(std::vector<std::int64_t>(e.confusion.begin() + static_cast<std::ptrdiff_t>(c * classes),
                                                            e.confusion.begin() + static_cast<std::ptrdiff_t>((c + 1) * classes)));
  } else {
    put("mae", e.mae, e.mae_interval);
    put("rmse", e.rmse, e.rmse_interval);
    if (e.target_mae.size() > 1)
      for (std::size_t t = 0; t < e.target_mae.size(); ++t) {
        const std::string name = t < target_names.size() ? target_names[t] : "target " + std::to_string(t + 1);
        json["targets"][name] = {{"mae", e.target_mae[t]}, {"rmse", e.target_rmse[t]}};
      }
  }
  return json.dump();
}

}  // namespace epitaxy
