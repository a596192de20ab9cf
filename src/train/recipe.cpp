// What a training run uses where the user says nothing: a rule of the task, the kind of network and the number of training items.
#include <algorithm>
#include <cmath>

#include "epitaxy/train/config.h"

namespace epitaxy {

namespace {

template <class T, class U>
void fill(std::optional<T>& value, U fallback) {
  if (!value) value = static_cast<T>(fallback);
}

/// Epochs that bring about `steps` optimisation steps, within limits.
int epochs_for(double steps, std::int64_t items, std::int64_t batch, int low, int high) {
  const double per_epoch = std::ceil(static_cast<double>(items) / static_cast<double>(batch));
  return static_cast<int>(std::clamp(std::round(steps / per_epoch), static_cast<double>(low), static_cast<double>(high)));
}

}  // namespace

TrainConfig resolve(TrainConfig config, const Dataset& train) {
  const int rank = train.inputs.shape().rank();
  const bool classes = train.task == Task::classification;
  if (config.model.empty()) config.model = rank == 4 ? "crystalnet" : rank == 3 ? "lstm" : "mlp";
  const bool mlp = config.model == "mlp";
  if (mlp && config.hidden.empty()) config.hidden = {128, 128};
  fill(config.normalise, NormaliseKind::standardise);
  fill(config.loss, classes ? LossKind::softmax_cross_entropy : LossKind::mean_squared_error);
  const bool cross_entropy = *config.loss == LossKind::softmax_cross_entropy;
  if (classes != cross_entropy)
    reject("--loss ", name(*config.loss), " does not fit a ", name(train.task),
           classes ? "; use softmax_cross_entropy" : "; use mean_squared_error, mean_absolute_error, huber or binary_cross_entropy");
  if (classes) fill(config.label_smoothing, mlp ? 0.0 : 0.1);
  if (!classes) {
    const bool probabilities = *config.loss == LossKind::binary_cross_entropy;
    if (probabilities && config.standardise_targets.value_or(false))
      reject("binary_cross_entropy takes targets in 0..1: leave out standardise-targets");
    fill(config.standardise_targets, !probabilities);
  }

  fill(config.batch, 32);
  fill(config.epochs, mlp ? epochs_for(6000, train.size(), *config.batch, 10, 300) : epochs_for(1600, train.size(), *config.batch, 8, 60));
  fill(config.optimizer, OptimizerKind::adamw);
  fill(config.learning_rate, *config.optimizer == OptimizerKind::sgd ? 0.05 : config.model == "ebsdnet" ? 1e-4 : 3e-3);
  fill(config.weight_decay, *config.optimizer == OptimizerKind::adamw ? 0.05 : *config.optimizer == OptimizerKind::sgd ? 5e-4 : 0.0);
  fill(config.clip_norm, is_recurrent(config.model) ? 1 : 0);  // a long sequence's gradient may explode
  if (*config.optimizer == OptimizerKind::sgd) {
    fill(config.momentum, 0.9);
    fill(config.nesterov, false);
  }
  fill(config.schedule, Schedule::cosine);
  if (*config.schedule == Schedule::cosine) fill(config.warmup, 0.05);
  fill(config.select, Selection::loss);
  fill(config.patience, 0);
  return config;
}

ModelOptions model_options(const TrainConfig& config) {
  ModelOptions options;
  options.hidden = config.hidden;
  options.pool = config.pool.value_or(options.pool);
  options.bidirectional = config.bidirectional.value_or(options.bidirectional);
  options.dropout = config.dropout.value_or(options.dropout);
  return options;
}

std::vector<std::string> settings_without_effect(const TrainConfig& config, const Dataset& train) {
  std::vector<std::string> lines;
  const auto say = [&](bool set, const char* key, std::string_view of) {
    if (set) lines.push_back(text("note: ", key, " has no effect on ", of));
  };
  say(!config.hidden.empty() && config.model != "mlp" && config.model != "vgg" && !is_recurrent(config.model), "hidden", config.model);
  if (!is_recurrent(config.model)) {
    say(config.pool.has_value(), "pool", config.model);
    say(config.bidirectional.has_value(), "bidirectional", config.model);
    say(config.dropout.has_value() && config.model != "xrdnet", "dropout", config.model);
  }
  say(*config.optimizer != OptimizerKind::sgd && (config.momentum || config.nesterov), "momentum", name(*config.optimizer));
  say(*config.schedule != Schedule::cosine && config.warmup.has_value(), "warmup", text("schedule ", name(*config.schedule)));
  if (train.task == Task::classification)
    say(config.standardise_targets.has_value(), "standardise-targets", "a classification");
  else
    say(config.label_smoothing.has_value(), "label-smoothing", "a regression");
  return lines;
}

}  // namespace epitaxy
