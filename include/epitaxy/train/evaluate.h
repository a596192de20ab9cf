// Predictions for a whole data set, and how good they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "epitaxy/data/dataset.h"
#include "epitaxy/data/normalise.h"
#include "epitaxy/train/metrics.h"

namespace epitaxy {

/// The network's outputs fp32 [N, outputs] (logits, or values in network units) for the data's inputs, in batches.
Tensor predict_all(CompiledModel& model, const Dataset& data, std::int64_t batch = 64);

/// Outputs as a user reads them: probabilities for a classification (softmax) and for binary cross entropy (sigmoid), else values in the
/// user's units.
Tensor readable_outputs(const Tensor& outputs, LossKind loss, const Normalisation& normalisation);

/// Losses are those of the network (cross entropy without weights and smoothing; a regression's in network units), errors are in the
/// user's units.
struct Evaluation {
  Task task = Task::classification;
  std::int64_t items = 0;
  double loss = 0;
  // classification
  double accuracy = 0, balanced_accuracy = 0;
  std::vector<std::int64_t> confusion;  // [classes, classes]: row = true class, column = predicted class
  Interval accuracy_interval, balanced_accuracy_interval;
  // regression: over all targets, and per target
  double mae = 0, rmse = 0;
  std::vector<double> target_mae, target_rmse;
  Interval mae_interval, rmse_interval;
  bool has_intervals = false;

  /// Accuracy, or mean absolute error.
  double metric() const { return task == Task::classification ? accuracy : mae; }
};

struct EvaluateOptions {
  std::uint64_t seed = 1;  // of the bootstrap
  int resamples = 0;       // 2000 for published intervals; 0: none
};

/// Scores outputs of predict_all against the data's targets.
Evaluation score(const Tensor& outputs, const Dataset& data, const CompileOptions& compiled, const Normalisation& normalisation,
                 const EvaluateOptions& options = {});
/// predict_all and score.
Evaluation evaluate(CompiledModel& model, const Dataset& data, const Normalisation& normalisation, std::int64_t batch = 64,
                    const EvaluateOptions& options = {});

/// One JSON object: items, loss, and accuracy, balanced_accuracy, confusion (rows: true classes) or mae, rmse, each interval as
/// "<name>_interval": [low, high].
std::string to_json(const Evaluation& evaluation, const std::vector<std::string>& target_names = {});

}  // namespace epitaxy
