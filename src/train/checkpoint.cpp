#include "train/checkpoint.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "epitaxy/train/safetensors.h"

namespace epitaxy {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "epitaxy-checkpoint-2";
// Before the names of a file's arrays.
constexpr std::string_view kWeights = "weights/", kOptimizer = "optimizer/", kBest = "best/";

/// A number that JSON may have written as null: it was not finite.
double number(const Json& json) { return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>(); }

Json to_json(const Evaluation& e, bool whole) {
  Json json{{"classification", e.task == Task::classification}, {"items", e.items}, {"loss", e.loss}, {"accuracy", e.accuracy},
            {"balanced_accuracy", e.balanced_accuracy},         {"mae", e.mae},     {"rmse", e.rmse}};
  if (whole) json["confusion"] = e.confusion, json["target_mae"] = e.target_mae, json["target_rmse"] = e.target_rmse;
  return json;
}

Evaluation evaluation_from(const Json& json) {
  Evaluation e;
  e.task = json.at("classification").get<bool>() ? Task::classification : Task::regression;
  e.items = json.at("items").get<std::int64_t>();
  e.loss = number(json.at("loss"));
  e.accuracy = number(json.at("accuracy")), e.balanced_accuracy = number(json.at("balanced_accuracy"));
  e.mae = number(json.at("mae")), e.rmse = number(json.at("rmse"));
  if (json.contains("confusion")) {
    e.confusion = json.at("confusion").get<std::vector<std::int64_t>>();
    for (const auto& value : json.at("target_mae")) e.target_mae.push_back(number(value));
    for (const auto& value : json.at("target_rmse")) e.target_rmse.push_back(number(value));
  }
  return e;
}

Json to_json(const FitState& state) {
  Json epochs = Json::array();
  for (const EpochRecord& e : state.history.epochs) {
    epochs.push_back({{"step", e.step},
                      {"learning_rate", e.learning_rate},
                      {"loss", e.loss},
                      {"metric", e.metric},
                      {"seconds", e.seconds},
                      {"items_per_second", e.items_per_second},
                      {"best", e.best}});
    if (e.validation) epochs.back()["validation"] = to_json(*e.validation, e.epoch == state.history.best_epoch);
  }
  return {{"epochs", epochs},       {"best_epoch", state.history.best_epoch},
          {"batch", state.batch},   {"loss", state.loss},
          {"metric", state.metric}, {"items", state.items},
          {"time", state.time},     {"seconds", state.history.seconds}};
}

FitState state_from(const Json& json) {
  FitState state;
  for (const auto& e : json.at("epochs")) {
    EpochRecord& record = state.history.epochs.emplace_back();
    record.epoch = static_cast<int>(state.history.epochs.size());
    record.step = e.at("step").get<std::int64_t>();
    record.learning_rate = number(e.at("learning_rate"));
    record.loss = number(e.at("loss")), record.metric = number(e.at("metric"));
    record.seconds = number(e.at("seconds")), record.items_per_second = number(e.at("items_per_second"));
    record.best = e.at("best").get<bool>();
    if (e.contains("validation")) record.validation = evaluation_from(e.at("validation"));
  }
  const auto& epochs = state.history.epochs;
  const auto best = json.at("best_epoch").get<std::int64_t>();
  require(best >= 0 && best <= static_cast<std::int64_t>(epochs.size()), "the best epoch is ", best, " of ", epochs.size());
  require(std::all_of(epochs.begin(), epochs.end(),
                      [&](const EpochRecord& e) { return e.validation.has_value() == epochs[0].validation.has_value(); }),
          "only some epochs were validated");
  state.history.best_epoch = static_cast<int>(best);
  state.history.seconds = number(json.at("seconds"));
  state.batch = json.at("batch").get<std::int64_t>();
  require(state.batch >= 0, "batch ", state.batch, " of an epoch");
  state.loss = number(json.at("loss")), state.metric = number(json.at("metric"));
  state.items = number(json.at("items")), state.time = number(json.at("time"));
  return state;
}

}  // namespace

void write_checkpoint(const std::string& path, const CompiledModel& model, const FitState& state, const std::string& origin) {
  std::vector<NamedTensor> arrays;
  const auto add = [&](std::string_view prefix, const std::vector<NamedTensor>& from) {
    for (const auto& [name, tensor] : from) arrays.push_back({std::string(prefix) + name, tensor});
  };
  add(kWeights, model.weights());
  add(kOptimizer, model.optimizer_state());
  add(kBest, state.best_weights);
  write_safetensors(path, arrays, {{"format", kFormat}, {"state", to_json(state).dump()}, {"origin", origin}});
}

Checkpoint read_checkpoint(const std::string& path) {
  std::map<std::string, std::string> metadata;
  const auto arrays = read_safetensors(path, &metadata);
  if (metadata["format"] != kFormat) reject("'", path, "' is no checkpoint of this version of the program; start a new run");
  Checkpoint checkpoint;
  try {
    checkpoint.state = state_from(Json::parse(metadata["state"]));
  } catch (const nlohmann::json::exception& error) {
    fail("'", path, "' is damaged: ", error.what());
  } catch (const Error& error) {
    fail("'", path, "' is damaged: ", error.what());
  }
  checkpoint.origin = metadata["origin"];
  for (const auto& [name, tensor] : arrays)
    for (const auto& [prefix, to] : {std::pair{kWeights, &checkpoint.weights}, std::pair{kOptimizer, &checkpoint.optimizer},
                                     std::pair{kBest, &checkpoint.state.best_weights}})
      if (name.starts_with(prefix)) to->push_back({name.substr(prefix.size()), tensor});
  if (checkpoint.state.history.best_epoch > 0 && checkpoint.state.best_weights.empty())
    fail("'", path, "' is damaged: the weights of the best epoch are missing");
  return checkpoint;
}

}  // namespace epitaxy
