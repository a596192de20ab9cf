// A run on disk: config.yaml, metrics.csv, metrics.json, model.json, tuning.json where it was tuned, weights.safetensors of the best
// epoch, checkpoint.safetensors to go on from. Files appear whole or not at all.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epitaxy/train/config.h"

namespace epitaxy {

/// A directory that a training run has claimed. Until keep() is called it is removed again with what was written.
class RunDirectory {
 public:
  /// Claims `out`, or runs/<n> with the first free n where `out` is empty. Rejects a path that exists.
  explicit RunDirectory(const std::string& out);
  /// One that is there already; rejected while another process writes it.
  static RunDirectory existing(const std::string& path);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const;
  /// Writes a text file under a temporary name, then renames it.
  void write(std::string_view name, std::string_view contents) const;
  /// weights.safetensors, with a checksum that load_run holds the file against.
  void write_weights(std::span<const NamedTensor> weights) const;
  void keep() { kept_ = true; }

 private:
  RunDirectory(const std::string& path, bool kept);

  std::string path_;
  bool kept_ = false;
  int lock_ = -1;  // file descriptor
};

/// Rejects an `out` that exists, before any work is done; an empty one is fine.
void check_free(const std::string& out);

/// What model.json holds: all that prediction needs beside the weights.
struct ModelCard {
  Model model{Shape{1}};
  DType input_dtype = DType::fp32;
  Task task = Task::classification;
  LossKind loss = LossKind::softmax_cross_entropy;
  Precision precision = Precision::fp32;
  std::vector<std::string> class_names, target_names, feature_names;
  Normalisation normalisation;

  std::string to_json() const;
  static ModelCard from_json(const std::string& text);
};

/// Rejects inputs of another depth, size or channel count than the network was trained with, naming the data.
void check_inputs(const ModelCard& card, const Dataset& data);

/// A run read back: one that is finished, or the best epoch so far of one that was cut short.
struct Run {
  std::string path;
  TrainConfig config;
  ModelCard card;
  std::vector<NamedTensor> weights;
  std::shared_ptr<Tuning> tuning;  // the implementations it ran with; null: the defaults
};
/// Reads and checks all of it; a missing or damaged file is one clear Error.
Run load_run(const std::string& path);
/// The run's network ready to predict.
std::unique_ptr<CompiledModel> compile(const Run& run, Device device, Precision precision);

}  // namespace epitaxy
