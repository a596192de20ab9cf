// Tables: a CSV file that is split here, or a folder with train.csv, test.csv and perhaps validation.csv.
#include <algorithm>
#include <filesystem>
#include <set>

#include "epitaxy/data/csv.h"
#include "epitaxy/data/split.h"
#include "file.h"
#include "source_kinds.h"

namespace epitaxy {

namespace fs = std::filesystem;

namespace {

std::string quoted(const std::vector<std::string>& names) {
  std::string all;
  for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Numeric columns but targets, the group, and those that are unnamed or merely count rows.
std::vector<std::string> default_features(const Table& table, const DataOptions& options, std::vector<std::string>& notes) {
  std::vector<std::string> features, left_out;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const std::string& name = table.columns[c];
    if (contains(options.target, name) || name == options.group) continue;
    const bool unnamed = name.empty() || name.starts_with("Unnamed:");
    if (unnamed || !is_numeric(table, c) || is_row_number(table, c))
      left_out.push_back(unnamed ? text("column ", c + 1, " (unnamed)") : name + (is_numeric(table, c) ? " (row number)" : " (text)"));
    else
      features.push_back(name);
  }
  if (features.empty()) {
    const bool commas = std::any_of(table.cells.begin(), table.cells.end(), [](const auto& cells) {
      return !cells.empty() && std::all_of(cells.begin(), cells.end(), has_decimal_comma);
    });
    reject("'", table.path, "' has no numeric column left for features; ",
           commas ? "its numbers have a decimal comma: save it with decimal points" : "name some with --features");
  }
  if (!left_out.empty()) notes.push_back("columns left out: " + quoted(left_out));
  return features;
}

std::vector<std::string> class_names_of(const Table& table, std::size_t column) {
  const auto& cells = table.cells[column];
  for (std::size_t row = 0; row < cells.size(); ++row)
    if (cells[row].empty())
      fail("'", table.path, "' line ", table.lines[row], ", column '", table.columns[column],
           "': the target is empty; fill it in or remove the row");
  const std::set<std::string> distinct(cells.begin(), cells.end());
  std::vector<std::string> names(distinct.begin(), distinct.end());
  if (std::all_of(names.begin(), names.end(), [](const auto& one) { return parse_number(one).has_value(); }))
    std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return *parse_number(a) < *parse_number(b); });
  if (names.size() > 10 && 2 * names.size() > cells.size())
    reject("'", table.path, "' column '", table.columns[column], "' has ", names.size(), " different values in ", cells.size(),
           " rows: that is no class; choose another target or a regression");
  return names;
}

void reject_repeats(const std::vector<std::string>& names, const char* what) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) !=
        names.begin() + static_cast<std::ptrdiff_t>(i))
      reject("column '", names[i], "' is named twice as ", what, "; name it once");
}

/// Every cell that training or evaluation will read, whichever part its row falls into: a damaged one is said before hours of training.
void check_numbers(const Table& table, const std::vector<std::size_t>& columns) {
  for (const std::size_t column : columns)
    for (std::int64_t row = 0; row < table.rows(); ++row) number_at(table, column, row);
}

class TableSource final : public Source {
 public:
  TableSource(const DataOptions& options, bool split_here) : options_(options), split_here_(split_here) {
    if (!options.target.empty()) return;
    const std::string path = split_here_ ? options.data : find("train");
    reject("'", options.data, "' is a table: name its target column with --target",
           path.empty() ? "" : "; its columns are " + quoted(read_csv(path).columns));
  }

  bool has(std::string_view part) const override { return split_here_ ? part == "all" : !find(part).empty(); }

  Catalogue open(std::string_view part, std::vector<std::string>& notes) const override {
    const auto table = std::make_shared<Table>(read_csv(split_here_ ? options_.data : find(part)));
    std::vector<std::string> features = options_.features;
    if (features.empty()) {  // chosen by the training file, where there is one
      const bool other = !split_here_ && part != "train" && !find("train").empty();
      features = default_features(other ? read_csv(find("train")) : *table, options_, notes);
    }
    for (const auto& name : features)
      if (contains(options_.target, name)) reject("column '", name, "' is both target and feature; leave it out of one");
    reject_repeats(features, "feature");
    reject_repeats(options_.target, "target");
    std::vector<std::size_t> inputs, targets;
    for (const auto& name : features) inputs.push_back(table->column(name));
    for (const auto& name : options_.target) targets.push_back(table->column(name));
    const bool text_target = std::any_of(targets.begin(), targets.end(), [&](std::size_t c) { return !is_numeric(*table, c); });
    const Task task = options_.task.value_or(text_target ? Task::classification : Task::regression);
    if (task == Task::classification && targets.size() > 1) reject("a classification has one target column, got ", quoted(options_.target));
    notes.push_back(
        text("features: ", quoted(features), "; target: ", quoted(options_.target), task == Task::classification ? " (classes)" : ""));

    if (task == Task::regression) check_numbers(*table, targets);
    check_numbers(*table, inputs);
    Catalogue catalogue;
    std::vector<std::string> classes;
    if (task == Task::classification) {
      classes = class_names_of(*table, targets[0]);
      for (const auto& cell : table->cells[targets[0]])
        catalogue.strata.push_back(static_cast<std::int32_t>(std::find(classes.begin(), classes.end(), cell) - classes.begin()));
    } else {
      std::vector<float> first;
      for (std::int64_t row = 0; row < table->rows(); ++row) first.push_back(static_cast<float>(number_at(*table, targets[0], row)));
      catalogue.strata = value_strata(first);
    }
    if (!options_.group.empty()) {
      const std::size_t column = table->column(options_.group);
      catalogue.groups = table->cells[column];
      for (std::size_t row = 0; row < catalogue.groups.size(); ++row)
        if (catalogue.groups[row].empty())
          fail("'", table->path, "' line ", table->lines[row], ", column '", options_.group, "': the group is empty");
    }
    catalogue.read = [=, strata = catalogue.strata, groups = catalogue.groups, target_names = options_.target](
                         std::span<const std::int64_t> rows, std::vector<std::string>&) {
      return read_rows(*table, rows, inputs, features, targets, target_names, classes, strata, groups, task);
    };
    return catalogue;
  }

 private:
  std::string find(std::string_view part) const {
    for (const auto& name : aliases(part))
      if (const auto path = fs::path(options_.data) / (name + ".csv"); fs::is_regular_file(path)) return path.string();
    return {};
  }

  static Dataset read_rows(const Table& table, std::span<const std::int64_t> rows, const std::vector<std::size_t>& inputs,
                           const std::vector<std::string>& features, const std::vector<std::size_t>& targets,
                           const std::vector<std::string>& target_names, const std::vector<std::string>& classes,
                           const std::vector<std::int32_t>& strata, const std::vector<std::string>& groups, Task task) {
    const auto count = static_cast<std::int64_t>(rows.size());
    Dataset data;
    data.source = table.path;
    data.task = task;
    data.feature_names = features;
    data.inputs = allocate_host({DType::fp32, {count, static_cast<std::int64_t>(inputs.size())}}, table.path);
    float* x = data.inputs.as<float>();
    std::vector<std::int32_t> labels;
    std::vector<float> values;
    for (const std::int64_t row : rows) {
      for (const std::size_t column : inputs) *x++ = static_cast<float>(number_at(table, column, row));
      data.names.push_back(text("line ", table.lines[static_cast<std::size_t>(row)]));
      if (!groups.empty()) data.groups.push_back(groups[static_cast<std::size_t>(row)]);
      if (task == Task::classification)
        labels.push_back(strata[static_cast<std::size_t>(row)]);
      else
        for (const std::size_t column : targets) values.push_back(static_cast<float>(number_at(table, column, row)));
    }
    if (task == Task::classification) {
      set_labels(data, labels, classes, task);
    } else {
      data.target_names = target_names;
      data.targets = allocate_host({DType::fp32, {count, static_cast<std::int64_t>(targets.size())}}, table.path);
      std::copy(values.begin(), values.end(), data.targets.as<float>());
    }
    return data;
  }

  DataOptions options_;
  bool split_here_;
};

}  // namespace

std::unique_ptr<Source> find_tables(const DataOptions& options) {
  const fs::path path(options.data);
  if (fs::is_directory(path)) {
    if (fs::is_regular_file(path / "train.csv") || fs::is_regular_file(path / "test.csv"))
      return std::make_unique<TableSource>(options, false);
    return nullptr;
  }
  const std::string ending = path.extension().string();
  if (ending == ".csv" || ending == ".CSV" || ending == ".tsv" || ending == ".txt") return std::make_unique<TableSource>(options, true);
  return nullptr;
}

}  // namespace epitaxy
