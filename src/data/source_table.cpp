// Tables: a CSV file that is split here, or by one of its columns, or a folder with train.csv, test.csv and perhaps validation.csv.
#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>

#include "epitaxy/data/csv.h"
#include "epitaxy/data/split.h"
#include "file.h"
#include "source_kinds.h"
#include "table_columns.h"
#include "table_items.h"

namespace epitaxy {

namespace fs = std::filesystem;

namespace {

/// Whether the extension, before .gz, is that of a table.
bool is_table_name(const std::string& name) {
  fs::path path(name);
  if (path.extension() == ".gz") path = path.stem();
  const std::string ending = path.extension().string();
  return ending == ".csv" || ending == ".CSV" || ending == ".tsv" || ending == ".txt";
}

/// The table of a part in a folder: train.csv, or, where options say that tables are meant, the one table named train_*, train-* or
/// train.*; "" where there is none.
std::string find_part(const DataOptions& options, std::string_view part) {
  const fs::path folder(options.data);
  const bool meant = !options.target.empty() || !options.columns.empty() || !options.sequence.empty();
  for (const auto& name : aliases(part)) {
    if (fs::is_regular_file(folder / (name + ".csv"))) return (folder / (name + ".csv")).string();
    if (!meant) continue;
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string file = entry.path().filename().string();
      const bool begins =
          file.size() > name.size() && file.starts_with(name) && std::string_view("_-.").find(file[name.size()]) != std::string_view::npos;
      if (begins && is_table_name(file) && entry.is_regular_file()) found.push_back(file);
    }
    std::sort(found.begin(), found.end());
    if (found.size() > 1)
      reject("'", options.data, "' has ", found.size(), " tables for its ", name, " part: ", quoted(found),
             "; keep one set of tables in a folder");
    if (found.size() == 1) return (folder / found[0]).string();
  }
  return {};
}

std::vector<std::int64_t> all_rows(const Table& table) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(table.rows()));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return rows;
}

/// What the items of a table are to be predicted as.
struct Targets {
  Task task = Task::regression;
  std::vector<std::string> names, classes;
  std::vector<std::int32_t> labels;  // per item
  std::vector<float> values;         // [items, names]
};

class TableSource final : public Source {
 public:
  TableSource(const DataOptions& options, bool folder) : options_(options), folder_(folder) {
    check_sequence_options(options_);
    if (options_.remaining_life && !options_.target.empty())
      reject("--remaining-life is the target; leave --target (", quoted(options_.target), ") out, or the other");
    if (options_.target.empty() && !options_.remaining_life) {
      const std::string path = folder_ ? find_part(options_, "train") : options_.data;
      reject("'", options_.data, "' is a table: name its target column with --target",
             path.empty() ? "" : "; its columns are " + quoted(table_at(path)->columns));
    }
    reject_repeats(options_.target, "target");
    if (!folder_ && !options_.test_targets.empty() && options_.split_column.empty())
      reject("--test-targets needs a test part of its own: a folder with train and test tables, or --split-column");
    require(!(folder_ && !options_.split_column.empty()), "--split-column is for a single table; '", options_.data, "' is a folder");
  }

  bool has(std::string_view part) const override {
    if (folder_) return !find_part(options_, part).empty();
    if (options_.split_column.empty()) return part == "all";
    return part != "all" && !rows_of(*table_at(options_.data), part).empty();
  }

  Catalogue open(std::string_view part, std::vector<std::string>& notes) const override {
    const auto table = table_at(folder_ ? find_part(options_, part) : options_.data);
    const bool other = folder_ && part != "train" && !find_part(options_, "train").empty();  // than the training file, which decides
    const auto training = other ? table_at(find_part(options_, "train")) : table;
    DataOptions options = options_;
    if (options.features.empty()) options.features = default_features(*training, options, notes);
    reject_repeats(options.features, "feature");
    for (const auto& name : options.features)
      if (contains(options.target, name)) reject("column '", name, "' is both target and feature; leave it out of one");
    if (is_whole(options) && options.steps == 0 && (other || !options.split_column.empty()))
      options.steps = TableItems(training, options, all_rows(*training), options.features).steps();

    if (!options_.split_column.empty() && part == "train") note_other_parts(*table, notes);
    const bool ends_given = !options.test_targets.empty() && part == "test";
    check_targets(*table, target_columns(*table, ends_given));
    const auto items = std::make_shared<TableItems>(table, options, rows_of(*table, part), options.features, ends_given);
    if (const std::string line = items->describe(); !line.empty()) notes.push_back(line);
    const auto targets = std::make_shared<Targets>(targets_of(*table, *items, ends_given));
    notes.push_back(text("features: ", quoted(options.features), "; target: ", quoted(targets->names),
                         targets->task == Task::classification ? " (classes)" : "",
                         options.target_cap > 0 ? text(", capped at ", options.target_cap) : ""));

    Catalogue catalogue;
    catalogue.strata = targets->labels;
    if (targets->task == Task::regression) {
      std::vector<float> first;
      for (std::int64_t i = 0; i < items->size(); ++i)
        first.push_back(targets->values[static_cast<std::size_t>(i) * targets->names.size()]);
      catalogue.strata = value_strata(first);
    }
    catalogue.groups = groups_of(*table, *items);
    catalogue.read = [=, groups = catalogue.groups](std::span<const std::int64_t> chosen, std::vector<std::string>&) {
      Dataset data = items->read(chosen);
      set_targets(data, *targets, chosen);
      for (const std::int64_t item : chosen)
        if (!groups.empty()) data.groups.push_back(groups[static_cast<std::size_t>(item)]);
      return data;
    };
    return catalogue;
  }

 private:
  static bool is_whole(const DataOptions& options) { return !options.sequence.empty() && options.window == 0; }

  /// Each table is read once.
  std::shared_ptr<const Table> table_at(const std::string& path) const {
    auto& table = tables_[path];
    if (!table) table = std::make_shared<Table>(read_csv(path, options_.columns));
    return table;
  }

  /// The rows of a part: all, or those that the split column gives to it.
  std::vector<std::int64_t> rows_of(const Table& table, std::string_view part) const {
    std::vector<std::int64_t> rows = all_rows(table);
    if (options_.split_column.empty()) return rows;
    const auto& cells = table.cells[table.column(options_.split_column)];
    const auto names = aliases(part);
    std::erase_if(rows, [&](std::int64_t row) { return !contains(names, cells[static_cast<std::size_t>(row)]); });
    check_whole(table, options_.split_column);
    return rows;
  }

  /// Says which rows are left out of training and of the usual test: misspelt parts, or others.
  void note_other_parts(const Table& table, std::vector<std::string>& notes) const {
    std::map<std::string_view, std::int64_t> others;
    for (const auto& cell : table.cells[table.column(options_.split_column)])
      if (!contains({"train", "validation", "val", "test"}, cell)) ++others[cell];
    constexpr std::size_t kNamed = 5;
    std::string names;
    for (auto one = others.begin(); one != others.end() && std::distance(others.begin(), one) < static_cast<std::ptrdiff_t>(kNamed); ++one)
      names += text(names.empty() ? "" : ", ", one->second, " '", one->first, "'");
    if (!others.empty())
      notes.push_back(text("warning: column '", options_.split_column, "': rows that are neither train, validation nor test: ", names,
                           others.size() > kNamed ? text(" and ", others.size() - kNamed, " more names") : ""));
  }

  /// A sequence has one value of a column that says where its rows belong.
  void check_whole(const Table& table, const std::string& column) const {
    if (options_.sequence.empty()) return;
    const auto &names = table.cells[table.column(options_.sequence)], &cells = table.cells[table.column(column)];
    std::map<std::string_view, std::size_t> first;
    for (std::size_t row = 0; row < cells.size(); ++row)
      if (const auto at = first.emplace(names[row], row).first->second; cells[at] != cells[row])
        fail("'", table.path, "' line ", table.lines[row], ", column '", column, "': ", options_.sequence, " ", names[row], " is '",
             cells[row], "' here and '", cells[at], "' in line ", table.lines[at], "; a sequence is on one side of a split");
  }

  /// Whole sequences that are items of their own are drawn one by one; the windows of one stay together.
  std::vector<std::string> groups_of(const Table& table, const TableItems& items) const {
    const std::string& name = !options_.group.empty() ? options_.group : options_.window > 0 ? options_.sequence : std::string();
    std::vector<std::string> groups;
    if (name.empty()) return groups;
    const std::size_t column = table.column(name);
    if (name == options_.group) check_whole(table, name);
    for (std::int64_t i = 0; i < items.size(); ++i) {
      const auto row = static_cast<std::size_t>(items.last_row(i));
      if (table.cells[column][row].empty()) fail("'", table.path, "' line ", table.lines[row], ", column '", name, "': the group is empty");
      groups.push_back(table.cells[column][row]);
    }
    return groups;
  }

  /// Columns that hold the targets; none where they are counted or given apart.
  std::vector<std::size_t> target_columns(const Table& table, bool ends_given) const {
    std::vector<std::size_t> columns;
    if (!options_.remaining_life && !ends_given)
      for (const auto& name : options_.target) columns.push_back(table.column(name));
    return columns;
  }

  Task task_of(const Table& table, const std::vector<std::size_t>& columns) const {
    const bool words = std::any_of(columns.begin(), columns.end(), [&](std::size_t c) { return !is_numeric(table, c); });
    return options_.task.value_or(words ? Task::classification : Task::regression);
  }

  /// Every cell of a regression's targets, whichever part its row falls into: a damaged one is said before hours of training.
  void check_targets(const Table& table, const std::vector<std::size_t>& columns) const {
    if (task_of(table, columns) == Task::classification) return;
    const bool sparse = !options_.sequence.empty();  // within a sequence a target may be missing: what counts is where an item ends
    for (const std::size_t column : columns)
      for (std::int64_t row = 0; row < table.rows(); ++row)
        if (!sparse || !table.cells[column][static_cast<std::size_t>(row)].empty()) number_at(table, column, row);
  }

  Targets targets_of(const Table& table, const TableItems& items, bool ends_given) const {
    Targets targets;
    targets.names = options_.remaining_life ? std::vector<std::string>{"remaining_life"} : options_.target;
    const std::vector<std::size_t> columns = target_columns(table, ends_given);
    targets.task = task_of(table, columns);
    if (targets.task == Task::classification) {
      require(!options_.remaining_life && !ends_given, "remaining life and --test-targets are values; choose --task regression");
      require(options_.target_cap == 0, "--target-cap is for the values of a regression");
      if (columns.size() > 1) reject("a classification has one target column, got ", quoted(options_.target));
      if (options_.sequence.empty())
        for (std::int64_t row = 0; row < table.rows(); ++row) filled(table, columns[0], row);
      targets.classes = class_names_of(table, columns[0]);
      for (std::int64_t i = 0; i < items.size(); ++i) {
        const std::string& cell = filled(table, columns[0], items.last_row(i));
        targets.labels.push_back(
            static_cast<std::int32_t>(std::find(targets.classes.begin(), targets.classes.end(), cell) - targets.classes.begin()));
      }
      return targets;
    }
    const Table ends = ends_given ? end_values(targets.names, items) : Table{};
    for (std::int64_t i = 0; i < items.size(); ++i)
      for (std::size_t t = 0; t < targets.names.size(); ++t) {
        double value = ends_given                ? number_at(ends, t, static_cast<std::int64_t>(items.sequence_of(i)))
                       : options_.remaining_life ? items.remaining_life(i)
                                                 : number_at(table, columns[t], items.last_row(i));
        if (options_.target_cap > 0) value = std::min(value, options_.target_cap);
        targets.values.push_back(static_cast<float>(value));
      }
    return targets;
  }

  static const std::string& filled(const Table& table, std::size_t column, std::int64_t row) {
    const std::string& cell = table.cells[column][static_cast<std::size_t>(row)];
    if (cell.empty())
      fail("'", table.path, "' line ", table.lines[static_cast<std::size_t>(row)], ", column '", table.columns[column],
           "': the target is empty; fill it in or remove the row");
    return cell;
  }

  /// The table of --test-targets: one row for each sequence.
  Table end_values(const std::vector<std::string>& names, const TableItems& items) const {
    const fs::path folder = folder_ ? fs::path(options_.data) : fs::path(options_.data).parent_path();
    Table ends = read_csv((folder / options_.test_targets).string(), names);
    if (ends.rows() != static_cast<std::int64_t>(items.sequences().size()))
      fail("'", ends.path, "' has ", ends.rows(), " rows, but the test part has ", items.sequences().size(),
           " sequences; give one row for each, in their order");
    return ends;
  }

  static void set_targets(Dataset& data, const Targets& targets, std::span<const std::int64_t> items) {
    if (targets.task == Task::classification) {
      std::vector<std::int32_t> labels;
      for (const std::int64_t item : items) labels.push_back(targets.labels[static_cast<std::size_t>(item)]);
      set_labels(data, labels, targets.classes, targets.task);
      return;
    }
    const auto width = static_cast<std::int64_t>(targets.names.size());
    data.task = targets.task;
    data.target_names = targets.names;
    data.targets = allocate_host({DType::fp32, {static_cast<std::int64_t>(items.size()), width}}, data.source);
    float* to = data.targets.as<float>();
    for (const std::int64_t item : items) to = std::copy_n(targets.values.begin() + item * width, width, to);
  }

  DataOptions options_;
  bool folder_;
  mutable std::map<std::string, std::shared_ptr<const Table>> tables_;
};

}  // namespace

std::unique_ptr<Source> find_tables(const DataOptions& options) {
  if (fs::is_directory(options.data)) {
    if (find_part(options, "train").empty() && find_part(options, "test").empty()) return nullptr;
    return std::make_unique<TableSource>(options, true);
  }
  return is_table_name(options.data) ? std::make_unique<TableSource>(options, false) : nullptr;
}

bool has_column(const DataOptions& options, const std::string& name) {
  if (!fs::is_regular_file(options.data) || !is_table_name(options.data)) return true;
  return contains(read_csv(options.data, options.columns).columns, name);
}

Dataset read_table(const std::string& path, const DataOptions& options, std::int64_t every) {
  DataOptions wanted = options;
  if (every > 0) wanted.stride = every;
  check_sequence_options(wanted);
  const auto table = std::make_shared<Table>(read_csv(path, options.columns));
  const TableItems items(table, wanted, all_rows(*table), options.features, every == 0);
  std::vector<std::int64_t> all(static_cast<std::size_t>(items.size()));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return items.read(all);
}

}  // namespace epitaxy
