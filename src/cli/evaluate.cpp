// epitaxy evaluate
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "cli/cli.h"
#include "epitaxy/data/csv.h"
#include "epitaxy/data/twins.h"

namespace epitaxy::cli {

namespace {

using Json = nlohmann::ordered_json;

struct EvaluateCommand {
  RunOptions run;
  std::string data, split = "test";
  std::uint64_t seed = 1;
  std::optional<double> target_cap;
  bool json = false;
};

/// Items of `part` that occur byte for byte in what the network was trained or selected on.
std::vector<std::int64_t> twins_of(const Dataset& part, const DataOptions& trained_on, const std::string& split) {
  const Parts parts = open_training(trained_on);
  const auto in_training = find_twins(part, parts.train);
  std::set<std::int64_t> twins(in_training.begin(), in_training.end());
  if (split != "validation" && parts.validation.size() > 0)
    for (const auto item : find_twins(part, parts.validation)) twins.insert(item);
  return {twins.begin(), twins.end()};
}

std::vector<std::int64_t> others(std::int64_t count, const std::vector<std::int64_t>& items) {
  const std::set<std::int64_t> left_out(items.begin(), items.end());
  std::vector<std::int64_t> rest;
  for (std::int64_t i = 0; i < count; ++i)
    if (!left_out.contains(i)) rest.push_back(i);
  return rest;
}

/// Rows of a tensor [N, C].
Tensor rows_of(const Tensor& outputs, const std::vector<std::int64_t>& items) {
  Dataset holder;
  holder.inputs = outputs;
  return subset(holder, items).inputs;
}

std::string with_interval(double value, const Interval& interval) {
  return short_number(value) + "  [" + short_number(interval.low) + ", " + short_number(interval.high) + "]";
}

void print(const Json& json, const Evaluation& e, const std::vector<std::string>& class_names,
           const std::vector<std::string>& target_names) {
  std::cout << json["split"].get<std::string>() << " part of " << json["data"].get<std::string>() << ": " << e.items
            << " items; intervals are 95%\n"
            << "loss               " << short_number(e.loss) << '\n';
  if (e.task == Task::classification) {
    std::cout << "accuracy           " << with_interval(e.accuracy, e.accuracy_interval) << '\n'
              << "balanced accuracy  " << with_interval(e.balanced_accuracy, e.balanced_accuracy_interval) << '\n';
  } else {
    std::cout << "mae                " << with_interval(e.mae, e.mae_interval) << '\n'
              << "rmse               " << with_interval(e.rmse, e.rmse_interval) << '\n';
    for (std::size_t t = 0; target_names.size() > 1 && t < target_names.size(); ++t)
      std::cout << "  " << target_names[t] << ": mae " << short_number(e.target_mae[t]) << ", rmse " << short_number(e.target_rmse[t])
                << '\n';
  }
  if (json.contains("duplicates") && json["duplicates"].is_number()) {
    std::cout << "duplicates         " << json["duplicates"] << " items have an identical twin in training";
    if (json.contains("without_duplicates")) {
      const auto& clean = json["without_duplicates"];
      const char* key = e.task == Task::classification ? "accuracy" : "mae";
      std::cout << "; without them: " << key << ' ' << short_number(clean[key].get<double>());
    }
    std::cout << '\n';
  }
  if (e.task != Task::classification) return;
  std::cout << "confusion (rows: true class, columns: predicted)\n";
  const std::size_t classes = class_names.size();
  std::vector<std::vector<std::string>> table{{""}};
  for (std::size_t c = 0; c < classes; ++c) table[0].push_back(shortened(class_names[c], 9));
  for (std::size_t c = 0; c < classes; ++c) {
    table.push_back({class_names[c]});
    for (std::size_t p = 0; p < classes; ++p) table.back().push_back(std::to_string(e.confusion[c * classes + p]));
  }
  print_table(table);
}

void run(const EvaluateCommand& command) {
  Run run;
  const auto model = open_run(command.run, run);
  DataOptions options = data_options(run);
  if (!command.data.empty()) options.data = command.data;
  if (is_simulated(options.data)) options.features.clear(), options.wide = false;  // a simulator has no columns to choose
  if (command.target_cap) options.target_cap = *command.target_cap;
  Dataset data = open_part(options, command.split);
  require(data.size() > 0, "'", options.data, "' has no items in its ", command.split, " part");
  check_inputs(run.card, data);
  if (run.card.task == Task::classification)
    match_classes(data, run.card.class_names);
  else
    require(data.target_names.size() == run.card.target_names.size(), "'", options.data, "' has ", data.target_names.size(),
            " targets but the network was trained on ", run.card.target_names.size());
  const Tensor outputs = predict_all(*model, data, command.run.batch);
  const EvaluateOptions scoring{command.seed, 2000};
  const Evaluation evaluation = score(outputs, data, model->options(), run.card.normalisation, scoring);

  Json json{{"run", run.path}, {"data", options.data}, {"split", command.split}};
  json.update(Json::parse(to_json(evaluation, run.card.target_names)));
  if (run.card.task == Task::classification) json["class_names"] = run.card.class_names;
  if (command.split != "train") {
    try {
      const auto twins = twins_of(data, run.config.data, command.split);
      json["duplicates"] = twins.size();
      if (!twins.empty() && static_cast<std::int64_t>(twins.size()) < data.size()) {
        const auto rest = others(data.size(), twins);
        json["without_duplicates"] = Json::parse(to_json(
            score(rows_of(outputs, rest), subset(data, rest), model->options(), run.card.normalisation, scoring), run.card.target_names));
      }
    } catch (const std::exception& error) {
      json["duplicates"] = nullptr;
      std::cerr << "epitaxy: the training data could not be opened to look for duplicates: " << error.what() << std::endl;
    }
  }
  if (command.json)
    std::cout << json_line(json) << std::endl;
  else
    print(json, evaluation, run.card.class_names, run.card.target_names);
}

}  // namespace

void add_evaluate(CLI::App& app) {
  const auto command = std::make_shared<EvaluateCommand>();
  CLI::App* evaluate = app.add_subcommand("evaluate", "Measure a trained network on data it was not trained on");
  add_run_options(*evaluate, command->run);
  evaluate->add_option("--data", command->data, "as for train; default: the data the run was trained with")->type_name("PATH");
  evaluate
      ->add_option("--split", command->split,
                   "train, validation, test, all (of data that are split here), or another part that lies on disk; default test")
      ->type_name("PART");
  evaluate->add_option("--target-cap", command->target_cap, "another cap of the targets than in training; 0: none")
      ->type_name("VALUE")
      ->check([](const std::string& text) {
        const auto value = parse_number(text);
        return value && *value >= 0 && *value <= 1e30 ? std::string() : text + " is not within 0..1e30";
      });
  evaluate->add_option("--bootstrap-seed", command->seed, "of the intervals (2000 resamples); default 1")->type_name("N");
  evaluate->add_flag("--json", command->json, "one JSON object");
  evaluate->footer(
      "Examples:\n"
      "  epitaxy evaluate --run demo\n"
      "  epitaxy evaluate --run runs/3 --data images/ --split validation --json");
  evaluate->callback([command] { run(*command); });
}

}  // namespace epitaxy::cli
