// Everything that describes a training run: the keys of an experiment file (YAML), each also a flag of `epitaxy train`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "epitaxy/data/normalise.h"
#include "epitaxy/data/source.h"
#include "epitaxy/train/fit.h"

namespace epitaxy {

std::string_view name(Task task);
/// "classification" or "regression". Rejects anything else.
Task parse_task(std::string_view name);

/// What is not set is chosen by resolve().
struct TrainConfig {
  DataOptions data;  // data.seed is split-seed
  std::optional<NormaliseKind> normalise;
  std::optional<bool> standardise_targets;
  Augmentation augmentation;
  double stretch = 0;              // augmentation of sequences
  bool targets_invariant = false;  // a regression whose values do not change under the augmentation

  std::string model;                 // one of model_names(); empty: crystalnet for images, lstm for sequences, mlp for tables
  std::vector<std::int64_t> hidden;  // mlp, vgg, rnn, lstm, gru: units of the hidden layers; empty: 128, 128 for mlp
  std::optional<layers::SequencePool> pool;
  std::optional<bool> bidirectional;
  std::optional<float> dropout;
  std::optional<LossKind> loss;
  std::optional<float> label_smoothing;
  std::string class_weights = "none";  // none, balanced, or one number per class, comma separated

  std::optional<int> epochs;
  std::optional<std::int64_t> batch;
  std::optional<OptimizerKind> optimizer;
  std::optional<float> learning_rate, weight_decay, momentum, clip_norm;
  std::optional<bool> nesterov;
  std::optional<Schedule> schedule;
  std::optional<double> warmup;
  std::optional<Selection> select;
  std::optional<int> patience;
  double target_loss = 0;

  std::uint64_t seed = 1;
  std::string device = "auto";  // cuda where there is one, else cpu
  Precision precision = Precision::fp32;
  int threads = 0;                 // CPU threads; 0: all
  std::uint64_t memory_limit = 0;  // bytes; 0: what is free
  FusionSet fusion;                // rewrites of the graph that merge operations
  std::optional<bool> tune;        // time the implementations of each operation; default on a GPU
  std::string out;                 // empty: runs/<n>
};

/// One key: how it is read, written and explained. Values are text, as on the command line.
struct Setting {
  enum class Kind { value, list, toggle };
  std::string key;    // "label-smoothing": the YAML key (there "_" may stand for "-"), and the flag with "--" before it
  std::string group;  // heading in --help
  std::string value;  // "FRACTION", "N", ...
  std::string help;
  Kind kind = Kind::value;
  std::function<void(TrainConfig&, const std::vector<std::string>&)> set;
  std::function<std::vector<std::string>(const TrainConfig&)> get;  // empty: not set
};
const std::vector<Setting>& settings();

/// Sets one key; a value that does not fit is rejected, naming `where` ("--lr", "run.yaml line 3: lr").
void set(TrainConfig& config, const Setting& setting, const std::vector<std::string>& values, const std::string& where);

/// Reads an experiment file into `config`. Rejects unknown keys (naming key, line and the nearest known key), keys given twice and bad
/// values.
void read_config(const std::string& path, TrainConfig& config);
/// The same from text; `path` is for messages.
void parse_config(const std::string& yaml, const std::string& path, TrainConfig& config);
/// All keys that are set, as YAML that read_config reads; `out` is left out, so that the file can be run again.
std::string to_yaml(const TrainConfig& config);

/// Fills in what was not set, from the task and the number of training items alone (docs/training.md explains the rule).
TrainConfig resolve(TrainConfig config, const Dataset& train);

/// What shapes the network.
ModelOptions model_options(const TrainConfig& config);

/// What is set but has no effect on such a run ("hidden", "momentum"): one line each. `config` is what resolve() gives.
std::vector<std::string> settings_without_effect(const TrainConfig& config, const Dataset& train);

}  // namespace epitaxy
