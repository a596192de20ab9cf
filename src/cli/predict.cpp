// epitaxy predict
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/cli.h"

namespace epitaxy::cli {

namespace {

using Json = nlohmann::ordered_json;

struct PredictCommand {
  RunOptions run;
  std::vector<std::string> files;
  std::int64_t every = 0;
  bool json = false, csv = false;
};

std::string exact(float value) {
  std::ostringstream out;
  out.precision(9);
  out << value;
  return out.str();
}

/// Names of the output columns: classes or targets.
const std::vector<std::string>& columns_of(const ModelCard& card) {
  return card.task == Task::classification ? card.class_names : card.target_names;
}

struct Predictions {
  std::vector<std::string> names;
  Tensor values;  // [N, outputs]: probabilities or values
  const float* row(std::size_t item) const { return values.as<float>() + static_cast<std::int64_t>(item) * values.dim(1); }
  std::size_t best(std::size_t item) const {
    return static_cast<std::size_t>(std::max_element(row(item), row(item) + values.dim(1)) - row(item));
  }
};

void print_json(const Predictions& p, const ModelCard& card) {
  const auto& columns = columns_of(card);
  Json all = Json::array();
  for (std::size_t i = 0; i < p.names.size(); ++i) {
    Json one{{"item", p.names[i]}};
    if (card.task == Task::classification) one["class"] = columns[p.best(i)];
    const char* key = card.task == Task::classification ? "probabilities" : "values";
    for (std::size_t c = 0; c < columns.size(); ++c) one[key][columns[c]] = p.row(i)[c];
    all.push_back(std::move(one));
  }
  std::cout << json_line(all) << std::endl;
}

void print_csv(const Predictions& p, const ModelCard& card) {
  const auto& columns = columns_of(card);
  std::cout << "item" << (card.task == Task::classification ? ",class" : "");
  for (const auto& column : columns) std::cout << ',' << csv_cell(column);
  std::cout << '\n';
  for (std::size_t i = 0; i < p.names.size(); ++i) {
    std::cout << csv_cell(p.names[i]);
    if (card.task == Task::classification) std::cout << ',' << csv_cell(columns[p.best(i)]);
    for (std::size_t c = 0; c < columns.size(); ++c) std::cout << ',' << exact(p.row(i)[c]);
    std::cout << '\n';
  }
  std::cout.flush();
}

void print_text(const Predictions& p, const ModelCard& card) {
  const auto& columns = columns_of(card);
  std::vector<std::vector<std::string>> table{{"item"}};
  if (card.task == Task::classification) table[0].push_back("class");
  table[0].insert(table[0].end(), columns.begin(), columns.end());
  for (std::size_t i = 0; i < p.names.size(); ++i) {
    auto& row = table.emplace_back(std::vector<std::string>{p.names[i]});
    if (card.task == Task::classification) row.push_back(columns[p.best(i)]);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      std::ostringstream fixed;
      fixed.precision(3);
      fixed << std::fixed << p.row(i)[c];
      row.push_back(card.task == Task::classification ? fixed.str() : short_number(p.row(i)[c], 5));
    }
  }
  print_table(table);
}

void run(const PredictCommand& command) {
  require(!(command.json && command.csv), "--json and --csv exclude each other");
  Run run;
  const auto model = open_run(command.run, run);
  const Dataset data = open_unlabelled(command.files, data_options(run), command.every);
  check_inputs(run.card, data);
  const Tensor outputs = predict_all(*model, data, command.run.batch);
  Predictions predictions{data.names, readable_outputs(outputs, run.card.loss, run.card.normalisation)};
  if (command.json)
    print_json(predictions, run.card);
  else if (command.csv)
    print_csv(predictions, run.card);
  else
    print_text(predictions, run.card);
}

}  // namespace

void add_predict(CLI::App& app) {
  const auto command = std::make_shared<PredictCommand>();
  CLI::App* predict = app.add_subcommand("predict", "Classes and probabilities, or values, of new images, rows or sequences");
  add_run_options(*predict, command->run);
  predict
      ->add_option("FILE", command->files, "image files, folders of images, one IDX file of images, one CSV table, or one NPY or NPZ file")
      ->required()
      ->type_name("");
  predict->add_option("--every", command->every, "windows: one that ends every N steps; default: the last one of each sequence alone")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  predict->add_flag("--json", command->json, "one JSON array");
  predict->add_flag("--csv", command->csv, "comma-separated, with a header");
  predict->footer(
      "Examples:\n"
      "  epitaxy predict --run demo a.png b.png\n"
      "  epitaxy predict --run steel new_alloys.csv --csv > predicted.csv");
  predict->callback([command] { run(*command); });
}

}  // namespace epitaxy::cli
