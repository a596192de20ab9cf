// Opens sources by name and splits them into parts.
#include "epitaxy/data/source.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <set>

#include "epitaxy/data/csv.h"
#include "epitaxy/data/lattice.h"
#include "epitaxy/data/powder.h"
#include "epitaxy/data/split.h"
#include "file.h"
#include "simulator_keys.h"
#include "source_kinds.h"

namespace epitaxy {

namespace fs = std::filesystem;

std::vector<std::string> aliases(std::string_view part) {
  if (part == "validation" || part == "val") return {"validation", "val"};
  if (part == "test") return {"test", "t10k"};
  return {std::string(part)};
}

void reject_columns(const DataOptions& options) {
  const char* what = !options.target.empty()         ? "target"
                     : !options.features.empty()     ? "features"
                     : !options.group.empty()        ? "group"
                     : !options.columns.empty()      ? "columns"
                     : !options.split_column.empty() ? "split-column"
                     : !options.sequence.empty()     ? "sequence"
                     : !options.time.empty()         ? "time"
                                                     : nullptr;
  if (what) reject("'", options.data, "' is no table: ", what, " names columns of a CSV file");
  what = options.wide                    ? "wide"
         : options.window > 0            ? "window"
         : options.pad                   ? "pad"
         : options.remaining_life        ? "remaining-life"
         : !options.test_targets.empty() ? "test-targets"
                                         : nullptr;
  if (what) reject("'", options.data, "' is no table: ", what, " is for sequences in tables");
}

void set_labels(Dataset& data, const std::vector<std::int32_t>& labels, const std::vector<std::string>& class_names, Task task) {
  const auto count = static_cast<std::int64_t>(labels.size());
  data.task = task;
  if (task == Task::classification) {
    data.class_names = class_names;
    data.targets = allocate_host({DType::int32, {count}}, "labels");
    std::copy(labels.begin(), labels.end(), data.targets.as<std::int32_t>());
    return;
  }
  std::vector<double> values;
  for (const auto& one : class_names)
    if (const auto value = parse_number(one)) values.push_back(*value);
  const bool numbers = values.size() == class_names.size();
  data.target_names = {"label"};
  data.targets = allocate_host({DType::fp32, {count, 1}}, "labels");
  for (std::size_t i = 0; i < labels.size(); ++i)
    data.targets.as<float>()[i] = numbers ? static_cast<float>(values[static_cast<std::size_t>(labels[i])]) : static_cast<float>(labels[i]);
}

bool is_simulated(std::string_view data) { return names_simulator(data, "lattice") || names_simulator(data, "powder"); }

namespace {

std::unique_ptr<Source> open_source(const DataOptions& options) {
  require(!options.data.empty(), "no data given: name a folder, a CSV or NPZ file, lattice:... or powder:...");
  if (names_simulator(options.data, "lattice")) return open_lattice(options);
  if (names_simulator(options.data, "powder")) return open_powder(options);
  std::error_code error;
  if (!fs::exists(options.data, error)) reject("'", options.data, "' does not exist; check the path");
  if (!fs::is_directory(options.data, error)) {
    if (auto source = find_tables(options)) return source;
    if (auto source = find_arrays(options)) return source;
    reject("'", options.data, "' is neither a folder nor a .csv or .npz file");
  }
  if (auto source = find_idx(options)) return source;
  if (auto source = find_arrays(options)) return source;
  if (auto source = find_tables(options)) return source;
  if (auto source = find_image_folders(options)) return source;
  reject("'", options.data,
         "' holds no data: expected IDX files (train-images-idx3-ubyte...), train.csv (with --target or --sequence also train_*.txt), "
         "x_train.npy, or folders of images (train/<class>/* "
         "or <class>/*)");
}

std::vector<std::int64_t> everything(const Catalogue& catalogue) {
  std::vector<std::int64_t> items(catalogue.strata.size());
  std::iota(items.begin(), items.end(), std::int64_t{0});
  return items;
}

/// Splits some items of a catalogue; the result holds item numbers of the catalogue.
Split split_some(const Catalogue& catalogue, const std::vector<std::int64_t>& items, const DataOptions& options, SplitPurpose purpose) {
  const bool validation = purpose == SplitPurpose::validation;
  Split split;
  if (validation && options.unshuffled_tail) {
    require(catalogue.groups.empty(), "an unshuffled tail cannot keep groups on one side; leave one of the two out");
    split = split_tail(static_cast<std::int64_t>(items.size()), options.validation_fraction);
  } else {
    std::vector<std::int32_t> strata;
    std::vector<std::string> groups;
    for (const std::int64_t item : items) {
      strata.push_back(catalogue.strata[static_cast<std::size_t>(item)]);
      if (!catalogue.groups.empty()) groups.push_back(catalogue.groups[static_cast<std::size_t>(item)]);
    }
    split = split_items(strata, groups, validation ? options.validation_fraction : options.test_fraction, options.seed, purpose);
  }
  for (auto* side : {&split.kept, &split.held_out})
    for (auto& item : *side) item = items[static_cast<std::size_t>(item)];
  return split;
}

std::string describe_split(const Catalogue& catalogue, std::size_t held, std::size_t all, const DataOptions& options, bool tail) {
  if (tail) return text(held, " of ", all, " items, the last ones in file order");
  return text(held, " of ", all, " items, ", catalogue.groups.empty() ? "stratified" : "whole groups", ", seed ", options.seed);
}

/// The training side of a source, before validation is taken from it.
struct Training {
  Catalogue catalogue;
  std::vector<std::int64_t> items, test;  // test: held out here; empty where the part lies on disk
};

Training open_training_side(const Source& source, const DataOptions& options, std::vector<std::string>& notes) {
  Training training;
  if (!source.has("all")) {
    if (!source.has("train")) reject("'", options.data, "' has no training part (train)");
    training.catalogue = source.open("train", notes);
    training.items = everything(training.catalogue);
    return training;
  }
  training.catalogue = source.open("all", notes);
  Split split = split_some(training.catalogue, everything(training.catalogue), options, SplitPurpose::test);
  notes.push_back("test part: " +
                  describe_split(training.catalogue, split.held_out.size(), training.catalogue.strata.size(), options, false));
  training.items = std::move(split.kept);
  training.test = std::move(split.held_out);
  return training;
}

/// Features that follow a target so closely that they may contain it.
void warn_of_leakage(const Dataset& train, std::vector<std::string>& notes) {
  if (train.inputs.shape().rank() != 2 || train.feature_names.empty() || !train.targets) return;
  const bool classes = train.task == Task::classification;
  const std::int64_t rows = train.size(), features = train.inputs.dim(1);
  const std::int64_t targets = classes ? static_cast<std::int64_t>(train.class_names.size()) : train.targets.dim(1);
  const float* x = train.inputs.as<float>();
  const auto target = [&](std::int64_t row, std::int64_t t) -> double {
    if (classes) return train.targets.as<std::int32_t>()[row] == t ? 1.0 : 0.0;  // one class against the rest
    return train.targets.as<float>()[row * targets + t];
  };
  for (std::int64_t f = 0; f < features; ++f)
    for (std::int64_t t = 0; t < targets; ++t) {
      double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
      for (std::int64_t i = 0; i < rows; ++i) {  // running means and co-moments (Welford)
        const double dx = x[i * features + f] - mean_x, dy = target(i, t) - mean_y;
        mean_x += dx / static_cast<double>(i + 1);
        mean_y += dy / static_cast<double>(i + 1);
        xx += dx * (x[i * features + f] - mean_x);
        yy += dy * (target(i, t) - mean_y);
        xy += dx * (target(i, t) - mean_y);
      }
      const double r = xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
      if (std::fabs(r) <= 0.8) continue;
      const auto& name = (classes ? train.class_names : train.target_names)[static_cast<std::size_t>(t)];
      char rounded[16];
      std::snprintf(rounded, sizeof(rounded), "%.2f", r);
      notes.push_back(text("warning: possible leakage: column '", train.feature_names[static_cast<std::size_t>(f)], "' correlates with ",
                           classes ? "class '" : "target '", name, "' (r = ", rounded, "); leave it out if it is not known beforehand"));
    }
}

void note_empty_classes(const Dataset& train, std::vector<std::string>& notes) {
  if (train.task != Task::classification) return;
  const auto counts = class_counts(train);
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (counts[i] == 0) notes.push_back("warning: class '" + train.class_names[i] + "' has no training items");
}

}  // namespace

namespace {

/// Steps that are named by where they are (2 theta, minutes) are in the same places.
void match_steps(const Dataset& part, const Dataset& train, std::string_view what) {
  if (part.feature_names.size() != train.feature_names.size()) return;
  for (std::size_t i = 0; i < part.feature_names.size(); ++i) {
    const auto got = parse_number(part.feature_names[i]), want = parse_number(train.feature_names[i]);
    if (got && want && std::fabs(*got - *want) > 1e-6 * std::max({1.0, std::fabs(*got), std::fabs(*want)}))
      reject("'", part.source, "': step ", i + 1, " of the ", what, " items is at ", part.feature_names[i], ", of the training items at ",
             train.feature_names[i], "; make both alike");
  }
}

/// A part of its own has items and targets like those of the training part.
void match_training(Dataset& part, const Dataset& train, std::string_view what) {
  const TensorSpec want{train.inputs.dtype(), train.inputs.shape().tail()}, got{part.inputs.dtype(), part.inputs.shape().tail()};
  if (!(got == want)) reject("'", part.source, "': ", what, " items are ", got, ", training items ", want, "; make both alike");
  const auto kind = [](const Dataset& data) {
    return data.task == Task::regression ? text("has ", data.targets.dim(1), " values an item") : std::string("has classes");
  };
  if (kind(part) != kind(train))
    reject("'", part.source, "': the ", what, " part ", kind(part), ", the training part ", kind(train), "; make both alike");
  match_steps(part, train, what);
  match_classes(part, train.class_names);
}

/// What the extra source is opened with: as the data are, its columns by name.
DataOptions extra_options(const DataOptions& options, const Dataset& train) {
  if (is_simulated(options.extra_training)) return {.data = options.extra_training};
  DataOptions extra = options;
  extra.data = options.extra_training;
  extra.test_targets.clear();
  if (!train.feature_names.empty()) {
    extra.features = train.feature_names;
    extra.task = train.task;
  }
  if (train.inputs.shape().rank() == 3) extra.steps = train.inputs.dim(1);
  if (!extra.split_column.empty() && !has_column(extra, extra.split_column)) extra.split_column.clear();
  return extra;
}

/// The same patterns or images again, some of them held out?
bool repeats(const std::string& data, const std::string& extra) {
  if (is_simulated(data) != is_simulated(extra)) return false;
  if (names_simulator(data, "powder") && names_simulator(extra, "powder")) return parse_powder(data).seed == parse_powder(extra).seed;
  if (names_simulator(data, "lattice") && names_simulator(extra, "lattice")) return parse_lattice(data).seed == parse_lattice(extra).seed;
  std::error_code error;
  return !is_simulated(data) && fs::equivalent(data, extra, error);
}

/// Items that are trained on and nothing else: no split takes validation or test items from them. `held_out` are groups that are tested.
void add_training(Parts& parts, const DataOptions& options, const std::set<std::string>& held_out) {
  const DataOptions extra = extra_options(options, parts.train);
  const auto source = open_source(extra);
  const char* part = source->has("all") ? "all" : "train";
  if (!source->has(part)) reject("'", extra.data, "' has no training part (train)");
  const Catalogue catalogue = source->open(part, parts.notes);
  Dataset more = catalogue.read(everything(catalogue), parts.notes);
  match_training(more, parts.train, "extra training");
  parts.notes.push_back(text("extra training: ", more.size(), " items of ", extra.data));
  if (part == std::string_view("all") && repeats(options.data, extra.data))
    parts.notes.push_back(text("warning: ", extra.data, is_simulated(extra.data) ? " has the seed of the data" : " is the data again",
                               ": what is held out for validation and test is trained on; name ",
                               is_simulated(extra.data) ? "another seed" : "other data"));
  const auto tested = std::count_if(more.groups.begin(), more.groups.end(), [&](const auto& group) { return held_out.contains(group); });
  if (tested > 0)
    parts.notes.push_back(text("warning: ", tested, " items of ", extra.data, " are of groups that are held out for validation or test"));
  parts.train = concatenate(parts.train, more);
}

}  // namespace

Parts open_training(const DataOptions& options) {
  const auto source = open_source(options);
  Parts parts;
  const Training training = open_training_side(*source, options, parts.notes);
  if (source->has("validation")) {
    parts.train = training.catalogue.read(training.items, parts.notes);
    const Catalogue validation = source->open("validation", parts.notes);
    parts.validation = validation.read(everything(validation), parts.notes);
    match_training(parts.validation, parts.train, "validation");
    parts.notes.push_back(text("validation part: ", parts.validation.size(), " items of their own"));
  } else {
    const Split split = split_some(training.catalogue, training.items, options, SplitPurpose::validation);
    parts.train = training.catalogue.read(split.kept, parts.notes);
    if (!split.held_out.empty()) {
      parts.validation = training.catalogue.read(split.held_out, parts.notes);
      parts.notes.push_back("validation part: " + describe_split(training.catalogue, split.held_out.size(), training.items.size(), options,
                                                                 options.unshuffled_tail));
    }
  }
  if (!options.extra_training.empty()) {
    std::set<std::string> held_out(parts.validation.groups.begin(), parts.validation.groups.end());
    for (const std::int64_t item : training.test)
      if (!training.catalogue.groups.empty()) held_out.insert(training.catalogue.groups[static_cast<std::size_t>(item)]);
    add_training(parts, options, held_out);
  }
  note_empty_classes(parts.train, parts.notes);
  warn_of_leakage(parts.train, parts.notes);
  return parts;
}

Dataset open_part(const DataOptions& options, std::string_view part, std::vector<std::string>* notes) {
  std::vector<std::string> unread;
  std::vector<std::string>& said = notes ? *notes : unread;
  const auto source = open_source(options);
  if (part == "val") part = "validation";
  const bool split_off = part == "train" || (part == "validation" && !source->has("validation")) || (part == "test" && source->has("all"));
  if (!split_off) {
    if (!source->has(part)) reject("'", options.data, "' has no part '", part, "'");
    const Catalogue catalogue = source->open(part, said);
    return catalogue.read(everything(catalogue), said);
  }
  const Training training = open_training_side(*source, options, said);
  if (part == "test") {
    require(!training.test.empty(), "'", options.data, "' has no test part: the test fraction is 0");
    return training.catalogue.read(training.test, said);
  }
  if (part == "train" && source->has("validation")) return training.catalogue.read(training.items, said);
  const Split split = split_some(training.catalogue, training.items, options, SplitPurpose::validation);
  if (part == "train") return training.catalogue.read(split.kept, said);
  require(!split.held_out.empty(), "'", options.data, "' has no validation part: the validation fraction is 0");
  return training.catalogue.read(split.held_out, said);
}

Dataset open_unlabelled(std::span<const std::string> paths, const DataOptions& options, std::int64_t every) {
  require(!paths.empty(), "no files given");
  require(every == 0 || options.window > 0, "--every is from one window to the next; this network was not trained on windows (--window)");
  Dataset data;
  data.source = paths.size() == 1 ? paths[0] : text(paths[0], " and ", paths.size() - 1, " more");
  if (is_array_name(paths[0])) {
    require(paths.size() == 1, "give one file of arrays at a time");
    return read_arrays(paths[0]);
  }
  if (!options.features.empty()) {
    require(paths.size() == 1, "give one table at a time");
    return read_table(paths[0], options, every);
  }
  std::vector<std::string> files;
  for (const auto& path : paths) {
    if (fs::is_directory(path)) {
      const auto inside = list_images(path);
      if (inside.empty()) reject("'", path, "' holds no images");
      files.insert(files.end(), inside.begin(), inside.end());
    } else {
      files.push_back(path);
    }
  }
  if (files.size() == 1 && files[0].find("idx") != std::string::npos && !is_image_name(files[0])) {
    data.inputs = read_idx_images(files[0]);
    for (std::int64_t i = 0; i < data.size(); ++i) data.names.push_back(text("item ", i));
    return data;
  }
  std::vector<std::string> notes;
  data.inputs = read_images(files, notes);
  data.names = std::move(files);
  return data;
}

}  // namespace epitaxy
