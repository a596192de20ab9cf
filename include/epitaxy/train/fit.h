// The training loop: epochs over a loader, validation after each, the best epoch's weights at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epitaxy/data/augment.h"
#include "epitaxy/train/evaluate.h"

namespace epitaxy {

/// Which epoch's weights are kept: that of the lowest validation loss, of the best validation metric (balanced accuracy, or mean absolute
/// error; ties by the loss), or the last. Without a validation part: the last.
enum class Selection : std::uint8_t { loss, metric, last };
std::string_view name(Selection selection);
Selection parse_selection(std::string_view name);

/// After a training step (not every step reports: metrics are read without stalling the device).
struct StepReport {
  int epoch = 0;                     // from 1
  std::int64_t step = 0, steps = 0;  // within the epoch
  double loss = 0, metric = 0;       // means over the epoch so far
  double items_per_second = 0;       // of the epoch
  double seconds_left = 0;           // of the whole training
};

struct EpochRecord {
  int epoch = 0;                // from 1
  std::int64_t step = 0;        // optimisation steps so far
  double learning_rate = 0;     // of the epoch's last step
  double loss = 0, metric = 0;  // training: means over the epoch; metric is accuracy, or mean absolute error in the user's units
  std::optional<Evaluation> validation;
  double seconds = 0, items_per_second = 0;  // of training; validation not counted in items_per_second
  bool best = false;                         // the best so far
};

struct History {
  std::vector<EpochRecord> epochs;
  int best_epoch = 0;   // whose weights the model holds; 0: none was finished
  std::string stopped;  // "", "target" (loss reached), "patience" or "interrupted"
  double seconds = 0;
};

/// Where a training stands. With the model's weights and optimizer state of the same moment it is all that going on to the bit needs.
struct FitState {
  History history;                                   // of the epochs that are finished
  std::int64_t batch = 0;                            // batches done of the epoch after them
  double loss = 0, metric = 0, items = 0, time = 0;  // sums over those batches
  std::vector<NamedTensor> best_weights;             // of history.best_epoch
};

struct FitOptions {
  int epochs = 10;
  std::int64_t batch = 32;
  std::uint64_t seed = 1;  // of the order and of the augmentation
  bool shuffle = true;
  ScheduleOptions schedule;
  Augmentation augmentation;  // by the loader; a model compiled with an augmentation does its own
  double stretch = 0;         // of sequences, by the loader
  Selection selection = Selection::loss;
  double target_loss = 0;  // stops after an epoch whose training loss is at most this; 0: never
  int patience = 0;        // stops after this many epochs without a better one; 0: never
  std::function<void(const StepReport&)> on_step;
  std::function<void(const EpochRecord&)> on_epoch;
  std::function<void(const EpochRecord&, std::span<const NamedTensor> weights)> on_best;  // after on_epoch, where the epoch is the best yet
  std::function<bool()> should_stop;                                                      // asked after every step
  std::function<void(const FitState&)> on_state;  // often, where the state is whole: within epochs, after each, and when interrupted
  FitState start;                                 // to go on from, in a model that holds the arrays of that moment
};

/// Trains `model` on `train`; `validation` may be empty (size 0). Targets are in the user's units: `normalisation` takes them to the
/// network's. Order, augmentation and learning rate are functions of (seed, epoch, step). Fails when the loss is no longer finite.
History fit(CompiledModel& model, const Dataset& train, const Dataset& validation, const Normalisation& normalisation,
            const FitOptions& options);

/// The batch sizes an epoch of `items` consists of: the full one and the tail.
std::vector<std::int64_t> batch_sizes(std::int64_t items, std::int64_t batch);

}  // namespace epitaxy
