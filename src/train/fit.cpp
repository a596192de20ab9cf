#include "epitaxy/train/fit.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "epitaxy/data/loader.h"

namespace epitaxy {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<std::string_view, 3> kSelections{"loss", "metric", "last"};
// Metrics are collected this often: rarely enough not to stall a device, often enough for a live display.
constexpr std::int64_t kStepsPerReport = 32;
constexpr double kSecondsPerReport = 0.2;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The data set with its targets in the network's units.
Dataset in_network_units(const Dataset& data, const Normalisation& normalisation) {
  Dataset result = data;
  if (data.task == Task::regression && !normalisation.target_scale.empty()) {
    result.targets = copy_to(cpu_backend(), data.targets, cpu_backend());
    normalise_targets(normalisation, result.targets);
  }
  return result;
}

/// What one unit of a regression's network output is worth in the user's units: exact for one target, the mean over several.
double metric_unit(const Dataset& data, const Normalisation& normalisation) {
  if (data.task == Task::classification || normalisation.target_scale.empty()) return 1.0;
  double sum = 0;
  for (const float scale : normalisation.target_scale) sum += 1.0 / scale;
  return sum / static_cast<double>(normalisation.target_scale.size());
}

/// Sums over an epoch, and the sizes of the steps whose metrics are still to come.
class EpochSums {
 public:
  explicit EpochSums(FitState& state) : state_(state), steps_(state.batch) {}
  void queued(std::int64_t items) { pending_.push_back(items); }
  void collect(CompiledModel& model, int epoch) {
    const auto metrics = model.take_metrics();
    if (metrics.size() != pending_.size()) fail("training: ", metrics.size(), " metrics for ", pending_.size(), " steps");
    for (std::size_t i = 0; i < metrics.size(); ++i) {
      const auto count = static_cast<double>(pending_[i]);
      state_.loss += count * metrics[i].loss;
      state_.metric += count * metrics[i].metric;
      state_.items += count;
      ++steps_;
      if (!std::isfinite(metrics[i].loss))
        fail("training: the loss became ", metrics[i].loss, " in epoch ", epoch, ", step ", steps_,
             "; lower the learning rate (--lr), clip gradients (--clip-norm 1) or check the data for extreme values");
    }
    pending_.clear();
  }
  double loss() const { return state_.items > 0 ? state_.loss / state_.items : 0; }
  double metric() const { return state_.items > 0 ? state_.metric / state_.items : 0; }

 private:
  FitState& state_;
  std::vector<std::int64_t> pending_;
  std::int64_t steps_;
};

/// Whether `a` is a better epoch than `b`.
bool better(const Evaluation& a, const Evaluation& b, Selection selection) {
  if (selection == Selection::metric) {
    const double gain = a.task == Task::classification ? a.balanced_accuracy - b.balanced_accuracy : b.mae - a.mae;
    if (gain != 0) return gain > 0;
  }
  return a.loss < b.loss || (std::isnan(b.loss) && !std::isnan(a.loss));
}

/// Why training ends after the epochs so far, or "".
std::string ended(const History& history, const FitOptions& options) {
  if (history.epochs.empty()) return "";
  const EpochRecord& last = history.epochs.back();
  if (options.target_loss > 0 && last.loss <= options.target_loss) return "target";
  if (options.patience > 0 && last.epoch - history.best_epoch >= options.patience && last.epoch < options.epochs) return "patience";
  return "";
}

void check(const FitOptions& options, const Dataset& train) {
  require(options.epochs >= 1, "training: epochs must be at least 1, got ", options.epochs);
  require(options.batch >= 1, "training: the batch must be at least 1, got ", options.batch);
  require(options.patience >= 0, "training: patience must be at least 0, got ", options.patience);
  require(options.target_loss >= 0, "training: the target loss must be at least 0, got ", options.target_loss);
  require(train.size() >= 1 && train.targets, "training: '", train.source, "' has no items with targets");
}

}  // namespace

std::string_view name(Selection selection) { return kSelections[static_cast<std::size_t>(selection)]; }
Selection parse_selection(std::string_view name) {
  for (std::size_t i = 0; i < kSelections.size(); ++i)
    if (kSelections[i] == name) return static_cast<Selection>(i);
  reject("unknown selection '", name, "': one of loss, metric, last");
}

std::vector<std::int64_t> batch_sizes(std::int64_t items, std::int64_t batch) {
  std::vector<std::int64_t> sizes;
  if (items >= batch) sizes.push_back(batch);
  if (items % batch != 0) sizes.push_back(items % batch);
  return sizes;
}

History fit(CompiledModel& model, const Dataset& train, const Dataset& validation, const Normalisation& normalisation,
            const FitOptions& options) {
  check(options, train);
  const Dataset data = in_network_units(train, normalisation);
  const Selection selection = validation.size() > 0 ? options.selection : Selection::last;
  const double unit = metric_unit(train, normalisation);
  model.reserve(batch_sizes(train.size(), options.batch), batch_sizes(validation.size(), options.batch));
  LoaderOptions loading;
  loading.batch = options.batch;
  loading.shuffle = options.shuffle;
  loading.seed = options.seed;
  const bool on_device = model.options().augmentation.any();
  if (!on_device) loading.augmentation = options.augmentation;
  loading.stretch = options.stretch;
  Loader loader(data, loading);

  const std::int64_t steps_per_epoch = loader.batches_per_epoch(), all_steps = steps_per_epoch * options.epochs;
  FitState state = options.start;
  History& history = state.history;
  require(selection == Selection::last || history.epochs.empty() || history.epochs.back().validation.has_value(),
          "training: cannot go on from epochs that were not validated");
  require(state.batch <= steps_per_epoch, "training: cannot go on after batch ", state.batch, " of an epoch of ", steps_per_epoch);
  const auto tell_state = [&] {
    if (options.on_state) options.on_state(state);
  };
  const auto start = Clock::now();
  const double seconds_before = history.seconds;
  std::int64_t steps_done = 0;
  history.stopped = ended(history, options);
  for (int epoch = static_cast<int>(history.epochs.size()) + 1; epoch <= options.epochs && history.stopped.empty(); ++epoch) {
    const auto epoch_start = Clock::now();
    const double time_before = state.time;
    auto last_report = epoch_start;
    EpochSums sums(state);
    std::int64_t& in_epoch = state.batch;
    std::int64_t step = (epoch - 1) * steps_per_epoch + in_epoch, unreported = 0;
    float rate =
        learning_rate_at(options.schedule, model.options().optimizer.learning_rate, std::max<std::int64_t>(step - 1, 0), all_steps);
    loader.start(static_cast<std::uint32_t>(epoch - 1), in_epoch);
    while (const auto batch = loader.next()) {
      rate = learning_rate_at(options.schedule, model.options().optimizer.learning_rate, step, all_steps);
      const Draw draw{epoch - 1, on_device ? batch->items : std::span<const std::int64_t>()};
      model.train_step(batch->inputs, batch->targets, rate, draw, batch->lengths);
      sums.queued(batch->inputs.dim(0));
      ++step, ++in_epoch, ++steps_done;
      const bool stop = options.should_stop && options.should_stop();
      if (stop || ++unreported >= kStepsPerReport || in_epoch == steps_per_epoch || seconds_since(last_report) >= kSecondsPerReport) {
        sums.collect(model, epoch);
        unreported = 0;
        last_report = Clock::now();
        state.time = time_before + seconds_since(epoch_start);
        history.seconds = seconds_before + seconds_since(start);
        const double left = seconds_since(start) * static_cast<double>(all_steps - step) / static_cast<double>(steps_done);
        if (options.on_step)
          options.on_step({epoch, in_epoch, steps_per_epoch, sums.loss(), sums.metric() * unit, state.items / state.time, left});
        if (stop) history.stopped = "interrupted";
        tell_state();
      }
      if (stop) break;
    }
    if (!history.stopped.empty()) break;

    EpochRecord record;
    record.epoch = epoch;
    record.step = step;
    record.learning_rate = rate;
    record.loss = sums.loss();
    record.metric = sums.metric() * unit;
    record.seconds = time_before + seconds_since(epoch_start);
    record.items_per_second = static_cast<double>(train.size()) / record.seconds;
    if (validation.size() > 0) record.validation = evaluate(model, validation, normalisation, options.batch);
    record.best = selection == Selection::last || history.best_epoch == 0 ||
                  better(*record.validation, *history.epochs[static_cast<std::size_t>(history.best_epoch - 1)].validation, selection);
    if (record.best) {
      history.best_epoch = epoch;
      state.best_weights = model.weights();
    }
    history.epochs.push_back(record);
    history.seconds = seconds_before + seconds_since(start);
    state.batch = 0;
    state.loss = state.metric = state.items = state.time = 0;
    if (options.on_epoch) options.on_epoch(history.epochs.back());
    if (record.best && options.on_best) options.on_best(history.epochs.back(), state.best_weights);
    history.stopped = ended(history, options);
    tell_state();
  }
  // Also where an interrupted epoch has moved the weights on.
  if (!state.best_weights.empty() && history.best_epoch != options.epochs) model.set_weights(state.best_weights);
  history.seconds = seconds_before + seconds_since(start);
  return std::move(history);
}

}  // namespace epitaxy
