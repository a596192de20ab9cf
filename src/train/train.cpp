#include "epitaxy/train/train.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cpu/threads.h"
#include "epitaxy/data/csv.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"
#include "train/checksum.h"
#include "train/memory_size.h"
#include "train/tuning_cache.h"
#if EPITAXY_HAS_CUDA
#include "gpu/backend.h"
#endif

namespace epitaxy {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kCheckpoint = "checkpoint.safetensors";

std::int64_t outputs_of(const Dataset& train) {
  if (train.task == Task::regression) return train.targets.dim(1);
  const auto classes = static_cast<std::int64_t>(train.class_names.size());
  if (classes < 2) reject("'", train.source, "' has ", classes, " class; a classification needs at least 2");
  return classes;
}

Model model_of(const TrainConfig& config, const Parts& parts) {
  const Dataset& train = parts.train;
  const Shape input = train.inputs.shape().tail();
  Model model = make_model(config.model, input, outputs_of(train), model_options(config));
  require(model.output_shape().rank() == 1, "--model ", config.model, " gives a class for every pixel, and '", train.source,
          "' has one target an image; choose another model: ", config.model, " trains from C++");
  return train.lengths || parts.validation.lengths ? model.with_lengths() : model;
}

ModelCard card_of(const TrainConfig& config, const Parts& parts) {
  const Dataset& train = parts.train;
  ModelCard card;
  card.model = model_of(config, parts);
  card.input_dtype = train.inputs.dtype();
  card.task = train.task;
  card.loss = *config.loss;
  card.precision = config.precision;
  card.class_names = train.class_names;
  card.target_names = train.target_names;
  card.feature_names = train.feature_names;
  card.normalisation = fit_normalisation(train, *config.normalise, config.standardise_targets.value_or(false));
  return card;
}

CompileOptions compile_options(const TrainConfig& config, const ModelCard& card, const Dataset& train) {
  CompileOptions options;
  options.optimizer.kind = *config.optimizer;
  options.optimizer.learning_rate = *config.learning_rate;
  options.optimizer.weight_decay = *config.weight_decay;
  options.optimizer.clip_norm = *config.clip_norm;
  options.optimizer.momentum = config.momentum.value_or(options.optimizer.momentum);
  options.optimizer.nesterov = config.nesterov.value_or(false);
  options.loss = card.loss;
  options.label_smoothing = config.label_smoothing.value_or(0.0f);
  options.class_weights = class_weights_of(config.class_weights, train);
  options.device = parse_device(config.device);
  options.precision = config.precision;
  options.input_dtype = card.input_dtype;
  options.mean = card.normalisation.mean;
  options.scale = card.normalisation.scale;
  options.seed = config.seed;
  // On the CPU the loader augments, ahead of the step.
  if (options.device.kind != DeviceKind::cpu) options.augmentation = config.augmentation;
  options.fusion = config.fusion;
  options.memory_limit = config.memory_limit;
  return options;
}

FitOptions fit_options(const TrainConfig& config, const TrainObserver& observer) {
  FitOptions options;
  options.epochs = *config.epochs;
  options.batch = *config.batch;
  options.seed = config.seed;
  options.schedule.kind = *config.schedule;
  options.schedule.warmup = config.warmup.value_or(options.schedule.warmup);
  options.augmentation = config.augmentation;
  options.stretch = config.stretch;
  options.selection = *config.select;
  options.patience = *config.patience;
  options.target_loss = config.target_loss;
  options.on_step = observer.step;
  options.should_stop = observer.should_stop;
  return options;
}

/// Binary cross entropy takes targets in 0..1.
void check_probabilities(const TrainConfig& config, const Dataset& train) {
  if (*config.loss != LossKind::binary_cross_entropy) return;
  for (const float target : train.targets.span<float>())
    if (!(target >= 0 && target <= 1))
      reject("'", train.source, "' has a target of ", target, "; binary_cross_entropy takes targets in 0..1");
}

/// Paths that still mean the same when the run is evaluated from another folder.
std::string absolute(const std::string& data) {
  if (data.empty() || is_simulated(data)) return data;
  std::error_code error;
  const auto path = std::filesystem::absolute(data, error);
  return error ? data : path.lexically_normal().string();
}

std::string csv_of(const std::vector<EpochRecord>& epochs, Task task) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out.precision(9);
  const bool classes = task == Task::classification;
  out << "epoch,step,learning_rate,loss," << (classes ? "accuracy" : "mae") << ",validation_loss,"
      << (classes ? "validation_accuracy,validation_balanced_accuracy" : "validation_mae,validation_rmse")
      << ",seconds,items_per_second,best\n";
  for (const auto& e : epochs) {
    out << e.epoch << ',' << e.step << ',' << e.learning_rate << ',' << e.loss << ',' << e.metric << ',';
    if (const auto& v = e.validation)
      out << v->loss << ',' << v->metric() << ',' << (classes ? v->balanced_accuracy : v->rmse) << ',';
    else
      out << ",,,";
    out << e.seconds << ',' << e.items_per_second << ',' << (e.best ? 1 : 0) << '\n';
  }
  return out.str();
}

std::string metrics_of(const TrainResult& result, const CompiledModel& model, std::int64_t training_items) {
  const History& history = result.history;
  const EpochRecord& best = history.epochs[static_cast<std::size_t>(history.best_epoch - 1)];
  Json json{{"epochs", history.epochs.size()}, {"best_epoch", history.best_epoch}, {"steps", history.epochs.back().step}};
  if (!history.stopped.empty()) json["stopped"] = history.stopped;
  json["training"] = {
      {"items", training_items}, {"loss", best.loss}, {result.card.task == Task::classification ? "accuracy" : "mae", best.metric}};
  if (best.validation) json["validation"] = Json::parse(to_json(*best.validation, result.card.target_names));
  double seconds = 0;
  for (const auto& e : history.epochs) seconds += e.seconds;
  json["seconds"] = history.seconds;
  json["training_seconds"] = seconds;
  json["items_per_second"] = static_cast<double>(training_items) * static_cast<double>(history.epochs.size()) / seconds;
  json["seed"] = result.config.seed;
  json["device"] = result.config.device;
  json["precision"] = std::string(name(result.config.precision));
  json["parameters"] = model.model().parameter_count();
  json["planned_bytes"] = model.memory().total();
  json["version"] = EPITAXY_VERSION;
  return json.dump(1) + "\n";
}

/// What a run comes from: its data, and all settings but those that may change when it goes on and where the data lie.
std::string origin_of(const TrainConfig& config, const ModelCard& card, const Parts& parts) {
  Checksum sum;
  sum.add(card.to_json());
  for (const auto& setting : settings()) {
    if (setting.key == "data" || setting.key == "extra-training" || setting.key == "out" || may_change(setting.key)) continue;
    sum.add(setting.key);
    for (const auto& value : setting.get(config)) sum.add(value);
  }
  for (const Dataset* data : {&parts.train, &parts.validation}) sum.add(data->inputs), sum.add(data->targets), sum.add(data->lengths);
  return sum.text();
}

/// Whether metrics.json tells of that many epochs: a run may be killed between its last epoch and its end.
bool is_told(const RunDirectory& run, std::size_t epochs) {
  const std::string file = run.file("metrics.json");
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) return false;
  const Json json = Json::parse(read_text(file), nullptr, false);
  return json.is_object() && json.contains("epochs") && json["epochs"] == epochs;
}

/// A training that is about to run: its data, what was chosen for it, and where it is told.
struct Training {
  Training(const TrainConfig& config, const TrainObserver& watched);
  TrainResult run(CompiledModel& model, RunDirectory& run, FitState start);

  const TrainObserver& observer;
  Parts parts;
  TrainResult result;
  CompileOptions options;
  std::string origin;
};

Training::Training(const TrainConfig& config, const TrainObserver& watched) : observer(watched) {
  if (config.data.data.empty()) reject("no data given: --data names a folder, a CSV table, lattice:... or powder:...");
  const Device device = choose_device(config.device);
  set_threads(config.threads);
  parts = open_training(config.data);
  const auto note = [&](const std::string& line) {
    if (observer.note) observer.note(line);
  };
  for (const auto& line : parts.notes) note(line);
  result.config = resolve(config, parts.train);
  result.config.device = name(device);
  if (!result.config.tune) result.config.tune = device.kind == DeviceKind::cuda;
  result.config.data.data = absolute(config.data.data);
  result.config.data.extra_training = absolute(config.data.extra_training);
  check_augmentation(result.config.augmentation, parts.train, config.targets_invariant);
  check_stretch(config.stretch, parts.train, config.targets_invariant);
  check_probabilities(result.config, parts.train);
  for (const auto& line : settings_without_effect(result.config, parts.train)) note(line);
  result.card = card_of(result.config, parts);
  options = compile_options(result.config, result.card, parts.train);
  origin = origin_of(result.config, result.card, parts);
  options.tune = *result.config.tune;
  if (options.tune) options.tuning = std::make_shared<Tuning>(read_tuning_cache(device));
  const MemorySummary memory = require_memory(result.card.model, options, std::min(*result.config.batch, parts.train.size()));
  if (!memory.recompute.nodes.empty())
    note(text("memory is short: ", memory.recompute.nodes.size(), " operations run again in the backward pass, which keeps ",
              memory_text(static_cast<double>(memory.recompute.arena_before - memory.recompute.arena)), " less"));
}

/// How often files of a run are written: once in so many seconds, and rarely enough that writing takes 2% of the time at most.
class Interval {
 public:
  explicit Interval(double seconds) : seconds_(seconds) {}
  bool due() const { return since(last_) >= std::max(seconds_, 50 * took_); }
  template <class Write>
  void time(Write&& write) {
    const auto start = Clock::now();
    write();
    took_ = since(start);
    last_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
  double seconds_, took_ = 0;
  Clock::time_point last_ = Clock::now();
};

bool sound(const EpochRecord& record) { return !record.validation || std::isfinite(record.validation->loss); }

TrainResult Training::run(CompiledModel& model, RunDirectory& run, FitState start) {
  result.run = run.path();
  const int all_epochs = *result.config.epochs;
  const auto done = start.history.epochs.size(), wanted = static_cast<std::size_t>(all_epochs);
  if (done > wanted || (done == wanted && is_told(run, done)))
    reject("'", run.path(), "' has all of its ", done, " epochs; give more --epochs to go on");
  run.write("config.yaml", to_yaml(result.config));
  if (observer.begin) observer.begin(result.config, result.card, parts.train.size(), parts.validation.size());

  // The best epoch so far, the course of training and the state to go on from are on disk early, then once a minute or so: a failure, a
  // kill or a power cut after hours leaves them there.
  const std::string card = result.card.to_json();
  std::vector<EpochRecord> epochs = start.history.epochs;
  Interval metrics(1), weights(60), checkpoint(60);
  int saved_epoch = 0;
  const auto save = [&](int epoch, std::span<const NamedTensor> best) {
    weights.time([&] {
      run.write_weights(best);
      if (options.tune) run.write("tuning.json", options.tuning->to_json());
      if (saved_epoch == 0) run.write("model.json", card);
    });
    run.keep();
    saved_epoch = epoch;
  };
  FitOptions fitting = fit_options(result.config, observer);
  fitting.start = std::move(start);
  fitting.on_epoch = [&](const EpochRecord& record) {
    epochs.push_back(record);
    // Rewritten whole, so not after each of thousands of short epochs.
    if (epochs.size() == 1 || metrics.due()) metrics.time([&] { run.write("metrics.csv", csv_of(epochs, parts.train.task)); });
    if (observer.epoch) observer.epoch(record);
  };
  fitting.on_best = [&](const EpochRecord& record, std::span<const NamedTensor> best) {
    if (sound(record) && (saved_epoch == 0 || weights.due())) save(record.epoch, best);
  };
  fitting.on_state = [&](const FitState& state) {
    const History& history = state.history;
    const bool last = !history.stopped.empty() || history.epochs.size() == static_cast<std::size_t>(all_epochs);
    if (!last && !checkpoint.due()) return;
    checkpoint.time([&] { write_checkpoint(run.file(kCheckpoint), model, state, origin); });
    run.keep();
  };
  try {
    result.history = fit(model, parts.train, parts.validation, result.card.normalisation, fitting);
    if (result.history.best_epoch == 0)
      fail("interrupted before the first epoch was finished; epitaxy train --resume ", run.path(), " goes on with it");
    if (!sound(result.history.epochs[static_cast<std::size_t>(result.history.best_epoch - 1)]))
      fail("training: the validation loss is not finite; lower the learning rate (--lr) or clip gradients (--clip-norm 1)");
    if (saved_epoch != result.history.best_epoch) save(result.history.best_epoch, model.weights());
    if (options.tune)
      if (const auto why = write_tuning_cache(options.device, *options.tuning); !why.empty() && observer.note)
        observer.note("timings are not kept for other runs: " + why);
    run.write("metrics.csv", csv_of(epochs, parts.train.task));
    run.write("metrics.json", metrics_of(result, model, parts.train.size()));
  } catch (const Error& error) {
    if (saved_epoch == 0) throw;
    throw Error(text(error.what(), "; epoch ", saved_epoch, " is kept in ", run.path()), error.fault());
  }
  return result;
}

}  // namespace

int cuda_devices() {
#if EPITAXY_HAS_CUDA
  return cuda_device_count();
#else
  return 0;
#endif
}

Device choose_device(const std::string& name) {
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 20;  // with less, libraries die where they should report (oneDNN 2.6)
  if (const std::uint64_t free = cpu_backend().free_memory(); free < kLeast)
    fail("only ", memory_text(static_cast<double>(free)), " of memory are free; at least ", memory_text(kLeast), " are needed");
  if (name == "auto") return cuda_devices() > 0 ? Device{DeviceKind::cuda, 0} : Device{};
  const Device device = parse_device(name);
  backend_of(device);  // rejects what this build or machine lacks, before any data are read
  return device;
}

void set_threads(int threads) {
  if (threads > 0) set_cpu_threads(threads);
}

std::vector<float> class_weights_of(const std::string& text, const Dataset& train) {
  if (text == "none") return {};
  if (train.task != Task::classification) reject("class weights are for classification; leave --class-weights out");
  const std::size_t classes = train.class_names.size();
  std::vector<float> weights;
  if (text == "balanced") {
    for (const auto count : class_counts(train))
      weights.push_back(
          count == 0 ? 0.0f
                     : static_cast<float>(static_cast<double>(train.size()) / (static_cast<double>(classes) * static_cast<double>(count))));
    return weights;
  }
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    const auto weight = parse_number(part);
    if (!weight || !(*weight >= 0) || *weight > 1e30)
      reject("--class-weights '", text, "' is none of: none, balanced, numbers like 1,2.5,1");
    weights.push_back(static_cast<float>(*weight));
  }
  if (weights.size() != classes) reject("--class-weights has ", weights.size(), " numbers but there are ", classes, " classes");
  if (std::count(weights.begin(), weights.end(), 0.0f) == static_cast<std::ptrdiff_t>(classes)) reject("--class-weights are all 0");
  return weights;
}

bool may_change(std::string_view key) {
  static const std::array<std::string_view, 6> keys{"epochs", "patience", "target-loss", "device", "threads", "memory-limit"};
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

TrainResult train(const TrainConfig& config, const TrainObserver& observer) {
  check_free(config.out);
  Training training(config, observer);
  CompiledModel model(training.result.card.model, training.options);
  RunDirectory run(config.out);
  return training.run(model, run, {});
}

TrainResult resume(const std::string& path, const TrainConfig& config, const TrainObserver& observer) {
  RunDirectory run = RunDirectory::existing(path);
  const std::string file = run.file(kCheckpoint);
  std::error_code error;
  if (!std::filesystem::exists(file, error)) reject("'", path, "' has no ", kCheckpoint, ", from which alone training can go on");
  Checkpoint checkpoint = read_checkpoint(file);
  Training training(config, observer);
  if (checkpoint.origin != training.origin)
    reject("'", path, "' cannot go on: its data or its configuration have changed since; restore them, or start a new run");
  if (const std::string tuning = run.file("tuning.json"); std::filesystem::exists(tuning, error))
    training.options.tuning = std::make_shared<Tuning>(Tuning::from_json(read_text(tuning)));
  CompiledModel model(training.result.card.model, training.options);
  model.set_weights(checkpoint.weights);
  model.set_optimizer_state(checkpoint.optimizer);
  return training.run(model, run, std::move(checkpoint.state));
}

}  // namespace epitaxy
