#include "epitaxy/train/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "epitaxy/train/safetensors.h"
#include "train/atomic_file.h"

namespace epitaxy {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char* kFormat = "epitaxy-model-1";

/// Holds the directory for this process, until it is closed: two runs would mix their files. Where a file system has no locks, nobody
/// holds.
int lock(const std::string& path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0 && ::flock(folder, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(folder);
    reject("'", path, "' is being written by another process; wait until it ends, or end it");
  }
  return folder;
}

/// Makes one directory; false where it exists.
bool claim(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) == 0) return true;
  if (errno == EEXIST) return false;
  fail("cannot make the run directory '", path, "': ", std::strerror(errno));
}

void make_parents(const fs::path& path) {
  if (path.empty()) return;
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("cannot make the directory '", path.string(), "': ", error.message());
}

/// A message without the JSON library's "[json.exception.type_error.302] ".
std::string plain(std::string message) {
  const auto first = message.find("[json.exception.");
  const auto last = message.find("] ", first == std::string::npos ? 0 : first);
  return first == std::string::npos || last == std::string::npos ? message : message.erase(first, last + 2 - first);
}

/// Names the file in the errors of what reads it.
template <class Work>
auto reading(const std::string& path, Work&& work) {
  try {
    return work();
  } catch (const nlohmann::json::exception& error) {
    fail("'", path, "' is damaged: ", plain(error.what()));
  } catch (const Error& error) {
    fail("'", path, "' is damaged: ", plain(error.what()));
  }
}

}  // namespace

void check_free(const std::string& out) {
  std::error_code error;
  if (!out.empty() && fs::exists(fs::symlink_status(out, error)))
    reject("'", out, "' exists; a run is never overwritten: choose another --out, or remove it first");
}

RunDirectory::RunDirectory(const std::string& out) : path_(out) {
  if (!out.empty()) {
    check_free(out);
    const auto slash = path_.find_last_not_of('/');
    path_.resize(slash == std::string::npos ? path_.size() : slash + 1);
    make_parents(fs::path(path_).parent_path());
    if (!claim(path_)) check_free(out);
    lock_ = lock(path_);
    return;
  }
  make_parents("runs");
  for (int n = 1;; ++n) {
    path_ = "runs/" + std::to_string(n);
    if (!claim(path_)) continue;
    lock_ = lock(path_);
    return;
  }
}

RunDirectory RunDirectory::existing(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) reject("'", path, "' is no run directory; name one that `epitaxy train` has written");
  return {path, true};
}

RunDirectory::RunDirectory(const std::string& path, bool kept) : path_(path), kept_(kept), lock_(lock(path)) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path, ignored))  // what a killed run left half written
    if (entry.path().filename().string().find(".partial-") != std::string::npos) fs::remove(entry.path(), ignored);
}

RunDirectory::~RunDirectory() {
  if (lock_ >= 0) ::close(lock_);
  if (kept_) return;
  std::error_code ignored;
  for (const char* one :
       {"config.yaml", "metrics.csv", "metrics.json", "model.json", "tuning.json", "weights.safetensors", "checkpoint.safetensors"})
    fs::remove(file(one), ignored);
  fs::remove(path_, ignored);  // only where nobody else has put something there
}

std::string RunDirectory::file(std::string_view name) const { return path_ + "/" + std::string(name); }

void RunDirectory::write(std::string_view name, std::string_view contents) const {
  AtomicFile out(file(name));
  out.write(contents);
  out.commit();
}

void RunDirectory::write_weights(std::span<const NamedTensor> weights) const {
  write_safetensors(file("weights.safetensors"), weights, {{"format", "epitaxy"}, {"version", EPITAXY_VERSION}});
}

std::string ModelCard::to_json() const {
  const auto dims = model.input_shape().dims();
  Json json{{"format", kFormat},
            {"task", std::string(epitaxy::name(task))},
            {"loss", std::string(epitaxy::name(loss))},
            {"precision", std::string(epitaxy::name(precision))},
            {"input", Json::object()}};
  json["input"]["shape"] = std::vector<std::int64_t>(dims.begin(), dims.end());
  json["input"]["dtype"] = std::string(epitaxy::name(input_dtype));
  if (task == Task::classification) json["class_names"] = class_names;
  if (task == Task::regression) json["target_names"] = target_names;
  if (!feature_names.empty()) json["feature_names"] = feature_names;
  json["normalisation"] = {
      {"kind", std::string(epitaxy::name(normalisation.kind))}, {"mean", normalisation.mean}, {"scale", normalisation.scale}};
  if (!normalisation.target_scale.empty()) {
    json["normalisation"]["target_mean"] = normalisation.target_mean;
    json["normalisation"]["target_scale"] = normalisation.target_scale;
  }
  json["model"] = Json::parse(model.to_json());
  return json.dump(1) + "\n";
}

ModelCard ModelCard::from_json(const std::string& text) {
  const Json json = Json::parse(text);
  if (const auto format = json.at("format").get<std::string>(); format != kFormat) reject("format '", format, "' is not ", kFormat);
  ModelCard card;
  card.model = Model::from_json(json.at("model").dump());
  card.input_dtype = parse_dtype(json.at("input").at("dtype").get<std::string>());
  card.task = parse_task(json.at("task").get<std::string>());
  card.loss = parse_loss(json.at("loss").get<std::string>());
  card.precision = parse_precision(json.at("precision").get<std::string>());
  if (card.task == Task::classification) json.at("class_names").get_to(card.class_names);
  if (card.task == Task::regression) json.at("target_names").get_to(card.target_names);
  if (json.contains("feature_names")) json.at("feature_names").get_to(card.feature_names);
  const Json& normalisation = json.at("normalisation");
  card.normalisation.kind = parse_normalise(normalisation.at("kind").get<std::string>());
  normalisation.at("mean").get_to(card.normalisation.mean);
  normalisation.at("scale").get_to(card.normalisation.scale);
  if (normalisation.contains("target_scale")) {
    normalisation.at("target_mean").get_to(card.normalisation.target_mean);
    normalisation.at("target_scale").get_to(card.normalisation.target_scale);
  }
  const auto inputs = static_cast<std::size_t>(card.model.input_shape()[-1]),
             outputs = static_cast<std::size_t>(card.model.output_shape().count());
  const std::size_t names = card.task == Task::classification ? card.class_names.size() : card.target_names.size();
  require(names == outputs, "the model has ", outputs, " outputs but ", names, " names");
  require(card.normalisation.mean.size() == inputs && card.normalisation.scale.size() == inputs, "the normalisation has ",
          card.normalisation.mean.size(), " means for ", inputs, " channels or features");
  require(card.normalisation.target_mean.size() == card.normalisation.target_scale.size() &&
              (card.normalisation.target_scale.empty() || card.normalisation.target_scale.size() == outputs),
          "the normalisation has ", card.normalisation.target_scale.size(), " target scales for ", outputs, " outputs");
  const Shape& shape = card.model.input_shape();
  const bool wide = shape.rank() == 2 && card.feature_names.size() == static_cast<std::size_t>(shape[0]);  // one per step
  require(card.feature_names.empty() || wide || card.feature_names.size() == inputs, card.feature_names.size(), " feature names for ",
          inputs, " inputs");
  return card;
}

void check_inputs(const ModelCard& card, const Dataset& data) {
  const TensorSpec want{card.input_dtype, card.model.input_shape()}, got{data.inputs.dtype(), data.inputs.shape().tail()};
  if (got == want) return;
  const bool depth = got.dtype != want.dtype;
  reject("'", data.source, "' holds items of ", got, " but this network was trained on ", want, "; ",
         depth ? "give data of the same bit depth" : "bring the data to that size and those channels");
}

Run load_run(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) reject("'", path, "' is no run directory; name one that `epitaxy train` has written");
  Run run;
  run.path = path;
  for (const char* file : {"config.yaml", "model.json", "weights.safetensors"})
    if (!fs::exists(path + "/" + file, error))
      reject("'", path, "' holds no finished epoch: ", file, " is missing",
             fs::exists(path + "/checkpoint.safetensors", error) ? "; epitaxy train --resume " + path + " goes on with it" : "");
  read_config(path + "/config.yaml", run.config);
  const std::string card = path + "/model.json";
  run.card = reading(card, [&] { return ModelCard::from_json(read_text(card)); });
  const std::string tuning = path + "/tuning.json";
  if (fs::exists(tuning, error))
    run.tuning = std::make_shared<Tuning>(reading(tuning, [&] { return Tuning::from_json(read_text(tuning)); }));
  const std::string weights = path + "/weights.safetensors";
  run.weights = read_safetensors(weights);
  return run;
}

std::unique_ptr<CompiledModel> compile(const Run& run, Device device, Precision precision) {
  CompileOptions options;
  options.loss = run.card.loss;
  options.device = device;
  options.precision = precision;
  options.input_dtype = run.card.input_dtype;
  options.mean = run.card.normalisation.mean;
  options.scale = run.card.normalisation.scale;
  options.training = false;
  options.tuning = run.tuning;
  auto model = std::make_unique<CompiledModel>(run.card.model, options);
  const std::string weights = run.path + "/weights.safetensors";
  reading(weights, [&] { model->set_weights(run.weights); });
  return model;
}

}  // namespace epitaxy
