// Training from a configuration: what `epitaxy train` does, for C++ programs too.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "epitaxy/train/run_directory.h"

namespace epitaxy {

/// What a caller may watch.
struct TrainObserver {
  std::function<void(const std::string&)> note;  // one line each: columns used, how data were split, warnings
  std::function<void(const TrainConfig& effective, const ModelCard&, std::int64_t training_items, std::int64_t validation_items)> begin;
  std::function<void(const StepReport&)> step;
  std::function<void(const EpochRecord&)> epoch;
  std::function<bool()> should_stop;
};

struct TrainResult {
  std::string run;     // the run directory
  TrainConfig config;  // with everything filled in
  ModelCard card;
  History history;
};

/// Opens the data, trains, and writes the run directory. Fails before any training where memory is too little, naming the remedy.
TrainResult train(const TrainConfig& config, const TrainObserver& observer = {});

/// Whether a setting may differ when a run goes on: epochs, patience, target-loss, device, threads, memory-limit.
bool may_change(std::string_view key);

/// Goes on with a run that was interrupted, killed or ended, from its checkpoint: with the same data, `config` as the run's config.yaml
/// gives it (data paths included) and the same device, the result is to the bit that of a run never stopped. Rejects other data, other
/// settings than may_change, a run that another process writes, and one that has nothing left to do.
TrainResult resume(const std::string& run, const TrainConfig& config, const TrainObserver& observer = {});

/// "auto": cuda where this build and machine have a device, else cpu; otherwise parse_device.
Device choose_device(const std::string& name);
/// The CPU threads operations use; 0: all the processor has.
void set_threads(int threads);
/// CUDA devices of this machine; 0 in a build without CUDA.
int cuda_devices();

/// One weight per class for the training loss: "none" (empty), "balanced" (items / (classes * items of the class), mean 1 over the items),
/// or the numbers given.
std::vector<float> class_weights_of(const std::string& text, const Dataset& train);

}  // namespace epitaxy
