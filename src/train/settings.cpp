// The keys of an experiment: one table for YAML, command line and help.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "cpu/threads.h"
#include "epitaxy/nn/model.h"
#include "epitaxy/train/config.h"
#include "train/memory_size.h"

namespace epitaxy {

namespace {

using Values = std::vector<std::string>;
using Kind = Setting::Kind;

template <class T>
T number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    reject("'", text, "' is no ", std::is_floating_point_v<T> ? "number" : "whole number");
  if constexpr (std::is_floating_point_v<T>)
    if (!std::isfinite(value)) reject("'", text, "' is not finite");
  return value;
}

template <class T>
T number_in(const std::string& text, T low, T high) {
  const T value = number<T>(text);
  if (value < low || value > high) reject(text, " is not within ", low, "..", high);
  return value;
}

bool yes_or_no(const std::string& text) {
  if (text == "true" || text == "yes" || text == "on" || text == "1") return true;
  if (text == "false" || text == "no" || text == "off" || text == "0") return false;
  reject("'", text, "' is neither true nor false");
}

/// The shortest text that reads back as the same number.
template <class T>
std::string shortest(T value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr};
}

/// Column names as tables hold them: without blanks around them, as in "x, y".
Values trimmed(Values names) {
  for (auto& name : names) {
    const auto first = name.find_first_not_of(" \t");
    name = first == std::string::npos ? "" : name.substr(first, name.find_last_not_of(" \t") - first + 1);
  }
  return names;
}

Values some(std::string text) { return text.empty() ? Values{} : Values{std::move(text)}; }
Values toggle(bool on) { return {on ? "true" : "false"}; }
template <class T>
Values optional_number(const std::optional<T>& value) {
  return value ? Values{shortest(*value)} : Values{};
}
template <class T>
Values optional_name(const std::optional<T>& value) {
  return value ? Values{std::string(name(*value))} : Values{};
}

std::string flip_name(const Augmentation& a) {
  return a.flip_horizontal && a.flip_vertical ? "both" : a.flip_horizontal ? "horizontal" : a.flip_vertical ? "vertical" : "none";
}

void set_flip(Augmentation& a, const std::string& text) {
  if (text != "none" && text != "horizontal" && text != "vertical" && text != "both")
    reject("'", text, "' is not one of none, horizontal, vertical, both");
  a.flip_horizontal = text == "horizontal" || text == "both";
  a.flip_vertical = text == "vertical" || text == "both";
}

/// A setting of one value: `set` receives its text.
Setting one(std::string key, std::string group, std::string value, std::string help,
            std::function<void(TrainConfig&, const std::string&)> set, std::function<Values(const TrainConfig&)> get) {
  const Kind kind = value.empty() ? Kind::toggle : Kind::value;
  return {std::move(key),
          std::move(group),
          std::move(value),
          std::move(help),
          kind,
          [set = std::move(set)](TrainConfig& c, const Values& v) {
            if (v.size() != 1) reject("takes one value, got ", v.size());
            set(c, v[0]);
          },
          std::move(get)};
}

using Config = const TrainConfig&;

std::vector<Setting> data_settings() {
  const std::string group = "Data";
  return {
      one(
          "data", group, "PATH",
          "a folder of IDX files, of image folders or of tables, a CSV table, an NPZ file, lattice:count=4000,size=64,... or "
          "powder:count=4000,...",
          [](auto& c, const auto& v) { c.data.data = v; }, [](Config c) { return some(c.data.data); }),
      one(
          "extra-training", group, "PATH", "more data of the kind, or a simulator: trained on, never validated or tested on",
          [](auto& c, const auto& v) { c.data.extra_training = v; }, [](Config c) { return some(c.data.extra_training); }),
      {"target", group, "COLUMN,...", "tables: the target columns", Kind::list,
       [](auto& c, const Values& v) { c.data.target = trimmed(v); }, [](Config c) { return c.data.target; }},
      {"features", group, "COLUMN,...", "tables: the input columns; default: the numeric ones but targets and row numbers", Kind::list,
       [](auto& c, const Values& v) { c.data.features = trimmed(v); }, [](Config c) { return c.data.features; }},
      one(
          "group", group, "COLUMN", "tables: rows with one value of this column (a specimen) stay on one side of every split",
          [](auto& c, const auto& v) { c.data.group = v; }, [](Config c) { return some(c.data.group); }),
      {"columns", group, "NAME,...", "tables without a header: the names of their columns", Kind::list,
       [](auto& c, const Values& v) { c.data.columns = trimmed(v); }, [](Config c) { return c.data.columns; }},
      one(
          "split-column", group, "COLUMN", "tables: this column says which part a row belongs to: train, validation or test",
          [](auto& c, const auto& v) { c.data.split_column = v; }, [](Config c) { return some(c.data.split_column); }),
      one(
          "task", group, "NAME", "classification or regression; default: by the target",
          [](auto& c, const auto& v) { c.data.task = parse_task(v); }, [](Config c) { return optional_name(c.data.task); }),
      one(
          "validation-fraction", group, "FRACTION", "of the training part, where the data have no validation part; default 0.1",
          [](auto& c, const auto& v) { c.data.validation_fraction = number_in(v, 0.0, 0.9); },
          [](Config c) { return Values{shortest(c.data.validation_fraction)}; }),
      one(
          "validation-tail", group, "", "validation is the last part of training in file order, not a stratified draw",
          [](auto& c, const auto& v) { c.data.unshuffled_tail = yes_or_no(v); }, [](Config c) { return toggle(c.data.unshuffled_tail); }),
      one(
          "test-fraction", group, "FRACTION", "set aside where the data have no test part; default 0.2",
          [](auto& c, const auto& v) { c.data.test_fraction = number_in(v, 0.0, 0.9); },
          [](Config c) { return Values{shortest(c.data.test_fraction)}; }),
      one(
          "split-seed", group, "N", "of the splits, apart from --seed, so that runs of several seeds share their test part; default 1",
          [](auto& c, const auto& v) { c.data.seed = number<std::uint64_t>(v); }, [](Config c) { return Values{shortest(c.data.seed)}; }),
      one(
          "normalise", group, "KIND", "none, minmax or standardise, fitted on the training part; default standardise",
          [](auto& c, const auto& v) { c.normalise = parse_normalise(v); }, [](Config c) { return optional_name(c.normalise); }),
      one(
          "standardise-targets", group, "", "regression: the network sees targets of mean 0 and variance 1; default true",
          [](auto& c, const auto& v) { c.standardise_targets = yes_or_no(v); },
          [](Config c) { return c.standardise_targets ? toggle(*c.standardise_targets) : Values{}; }),
      one(
          "flip", group, "KIND", "augmentation: none, horizontal, vertical or both; default none",
          [](auto& c, const auto& v) { set_flip(c.augmentation, v); }, [](Config c) { return Values{flip_name(c.augmentation)}; }),
      one(
          "rotate", group, "", "augmentation: turns by 0, 90, 180 or 270 degrees",
          [](auto& c, const auto& v) { c.augmentation.rotate = yes_or_no(v); }, [](Config c) { return toggle(c.augmentation.rotate); }),
      one(
          "shift", group, "PIXELS", "augmentation: moves by up to this many pixels along each axis; default 0",
          [](auto& c, const auto& v) { c.augmentation.shift = number_in(v, 0, 4096); },
          [](Config c) { return Values{shortest(c.augmentation.shift)}; }),
      one(
          "shift-fill", group, "KIND", "what a shift uncovers: edge (the border pixel) or wrap (the other side); default edge",
          [](auto& c, const auto& v) {
            if (v != "edge" && v != "wrap") reject("'", v, "' is neither edge nor wrap");
            c.augmentation.fill = v == "wrap" ? ShiftFill::wrap : ShiftFill::edge;
          },
          [](Config c) { return Values{c.augmentation.fill == ShiftFill::wrap ? "wrap" : "edge"}; }),
      one(
          "stretch", group, "FRACTION", "augmentation of spectra: stretched or compressed by up to this; default 0",
          [](auto& c, const auto& v) { c.stretch = number_in(v, 0.0, 0.5); },
          [](Config c) { return c.stretch > 0 ? Values{shortest(c.stretch)} : Values{}; }),
      one(
          "targets-invariant", group, "", "regression: allows augmentation, for values that flips, turns and shifts do not change",
          [](auto& c, const auto& v) { c.targets_invariant = yes_or_no(v); }, [](Config c) { return toggle(c.targets_invariant); }),
  };
}

std::vector<Setting> sequence_settings() {
  const std::string group = "Sequences in tables";
  const auto when_on = [](bool on) { return on ? Values{"true"} : Values{}; };
  return {
      one(
          "sequence", group, "COLUMN", "each row is a step; this column says of which sequence (unit, run, engine)",
          [](auto& c, const auto& v) { c.data.sequence = v; }, [](Config c) { return some(c.data.sequence); }),
      one(
          "time", group, "COLUMN", "the steps of a sequence are ordered by this column; default: by their order in the file",
          [](auto& c, const auto& v) { c.data.time = v; }, [](Config c) { return some(c.data.time); }),
      one(
          "wide", group, "", "each row is a sequence, its feature columns are the steps",
          [](auto& c, const auto& v) { c.data.wide = yes_or_no(v); }, [=](Config c) { return when_on(c.data.wide); }),
      one(
          "window", group, "STEPS", "items are windows of this many steps, with the target at their end; default: whole sequences",
          [](auto& c, const auto& v) { c.data.window = number_in<std::int64_t>(v, 1, 1 << 20); },
          [](Config c) { return c.data.window > 0 ? Values{shortest(c.data.window)} : Values{}; }),
      one(
          "stride", group, "STEPS", "from one window to the next; default 1",
          [](auto& c, const auto& v) { c.data.stride = number_in<std::int64_t>(v, 1, 1 << 20); },
          [](Config c) { return c.data.stride > 1 ? Values{shortest(c.data.stride)} : Values{}; }),
      one(
          "pad", group, "", "sequences shorter than the window are padded, and rows of a wide table may end early",
          [](auto& c, const auto& v) { c.data.pad = yes_or_no(v); }, [=](Config c) { return when_on(c.data.pad); }),
      one(
          "remaining-life", group, "", "the target is the time from the item's end to the end of its sequence",
          [](auto& c, const auto& v) { c.data.remaining_life = yes_or_no(v); }, [=](Config c) { return when_on(c.data.remaining_life); }),
      one(
          "target-cap", group, "VALUE", "regression: targets above this count as this; 0: no cap",
          [](auto& c, const auto& v) { c.data.target_cap = number_in(v, 0.0, 1e30); },
          [](Config c) { return c.data.target_cap > 0 ? Values{shortest(c.data.target_cap)} : Values{}; }),
      one(
          "test-targets", group, "FILE", "beside the data, without header: the target at the end of each sequence of the test part",
          [](auto& c, const auto& v) { c.data.test_targets = v; }, [](Config c) { return some(c.data.test_targets); }),
  };
}

std::vector<Setting> model_settings() {
  const std::string group = "Model and loss";
  return {
      one(
          "model", group, "NAME", model_list() + "; default: crystalnet for images, lstm for sequences, mlp for tables",
          [](auto& c, const auto& v) { c.model = v; }, [](Config c) { return some(c.model); }),
      {"hidden", group, "UNITS,...",
       "units of the hidden layers: mlp, default 128,128; vgg, default by image size; lstm, gru, rnn, default 64", Kind::list,
       [](auto& c, const Values& v) {
         c.hidden.clear();
         for (const auto& units : v) c.hidden.push_back(number_in<std::int64_t>(units, 1, 1 << 20));
       },
       [](Config c) {
         Values all;
         for (const auto units : c.hidden) all.push_back(shortest(units));
         return all;
       }},
      one(
          "pool", group, "KIND", "lstm, gru, rnn: what of a sequence goes on: last (state), mean or attention; default last",
          [](auto& c, const auto& v) {
            c.pool = parse_sequence_pool(v);
            require(*c.pool != layers::SequencePool::none, "a network pools its sequence: last, mean or attention");
          },
          [](Config c) { return optional_name(c.pool); }),
      one(
          "bidirectional", group, "", "lstm, gru, rnn: reads sequences in both directions",
          [](auto& c, const auto& v) { c.bidirectional = yes_or_no(v); },
          [](Config c) { return c.bidirectional ? toggle(*c.bidirectional) : Values{}; }),
      one(
          "dropout", group, "FRACTION", "lstm, gru, rnn: between the layers; xrdnet: before the last; default 0",
          [](auto& c, const auto& v) { c.dropout = number_in(v, 0.0f, 0.9f); }, [](Config c) { return optional_number(c.dropout); }),
      one(
          "loss", group, "NAME",
          "softmax_cross_entropy (classification), mean_squared_error, mean_absolute_error, huber or binary_cross_entropy (regression)",
          [](auto& c, const auto& v) { c.loss = parse_loss(v); }, [](Config c) { return optional_name(c.loss); }),
      one(
          "label-smoothing", group, "FRACTION", "classification: share of every target spread over all classes",
          [](auto& c, const auto& v) { c.label_smoothing = number_in(v, 0.0f, 0.9f); },
          [](Config c) { return optional_number(c.label_smoothing); }),
      one(
          "class-weights", group, "KIND", "none, balanced (rare classes count more), or one number per class: 1,2.5,1",
          [](auto& c, const auto& v) { c.class_weights = v; }, [](Config c) { return some(c.class_weights); }),
  };
}

std::vector<Setting> training_settings() {
  const std::string group = "Training";
  return {
      one(
          "epochs", group, "N", "passes over the training part", [](auto& c, const auto& v) { c.epochs = number_in(v, 1, 1000000); },
          [](Config c) { return optional_number(c.epochs); }),
      one(
          "batch", group, "N", "items per step", [](auto& c, const auto& v) { c.batch = number_in<std::int64_t>(v, 1, 1 << 24); },
          [](Config c) { return optional_number(c.batch); }),
      one(
          "lr", group, "RATE", "learning rate", [](auto& c, const auto& v) { c.learning_rate = number_in(v, 0.0f, 1e6f); },
          [](Config c) { return optional_number(c.learning_rate); }),
      one(
          "optimizer", group, "NAME", "sgd, adam or adamw", [](auto& c, const auto& v) { c.optimizer = parse_optimizer(v); },
          [](Config c) { return optional_name(c.optimizer); }),
      one(
          "weight-decay", group, "RATE", "of weights; biases and normalisation never decay",
          [](auto& c, const auto& v) { c.weight_decay = number_in(v, 0.0f, 1e6f); },
          [](Config c) { return optional_number(c.weight_decay); }),
      one(
          "momentum", group, "FACTOR", "sgd; default 0.9", [](auto& c, const auto& v) { c.momentum = number_in(v, 0.0f, 1.0f); },
          [](Config c) { return optional_number(c.momentum); }),
      one(
          "nesterov", group, "", "sgd with Nesterov's momentum", [](auto& c, const auto& v) { c.nesterov = yes_or_no(v); },
          [](Config c) { return c.nesterov ? toggle(*c.nesterov) : Values{}; }),
      one(
          "clip-norm", group, "NORM", "clips the gradients' global norm; 0: off",
          [](auto& c, const auto& v) { c.clip_norm = number_in(v, 0.0f, 1e9f); }, [](Config c) { return optional_number(c.clip_norm); }),
      one(
          "schedule", group, "NAME", "of the learning rate: constant, cosine or step",
          [](auto& c, const auto& v) { c.schedule = parse_schedule(v); }, [](Config c) { return optional_name(c.schedule); }),
      one(
          "warmup", group, "FRACTION", "cosine: share of all steps over which the learning rate rises; default 0.05",
          [](auto& c, const auto& v) { c.warmup = number_in(v, 0.0, 0.9); }, [](Config c) { return optional_number(c.warmup); }),
      one(
          "select", group, "RULE", "the epoch whose weights are kept: best validation loss, best validation metric, or last",
          [](auto& c, const auto& v) { c.select = parse_selection(v); }, [](Config c) { return optional_name(c.select); }),
      one(
          "patience", group, "EPOCHS", "stops after so many epochs without a better one; 0: never",
          [](auto& c, const auto& v) { c.patience = number_in(v, 0, 1000000); }, [](Config c) { return optional_number(c.patience); }),
      one(
          "target-loss", group, "LOSS", "stops after an epoch whose training loss is at most this; 0: never",
          [](auto& c, const auto& v) { c.target_loss = number_in(v, 0.0, 1e30); },
          [](Config c) { return Values{shortest(c.target_loss)}; }),
      one(
          "seed", group, "N", "of weights, order, augmentation and dropout; default 1",
          [](auto& c, const auto& v) { c.seed = number<std::uint64_t>(v); }, [](Config c) { return Values{shortest(c.seed)}; }),
  };
}

std::vector<Setting> machine_settings() {
  const std::string group = "Machine and output";
  return {
      one(
          "device", group, "NAME", "auto (cuda where there is one), cpu, cuda, cuda:1, ...", [](auto& c, const auto& v) { c.device = v; },
          [](Config c) { return some(c.device); }),
      one(
          "precision", group, "NAME", "fp32, tf32, bf16 or fp16; default fp32",
          [](auto& c, const auto& v) { c.precision = parse_precision(v); },
          [](Config c) { return Values{std::string(name(c.precision))}; }),
      one(
          "threads", group, "N", "CPU threads; 0: all", [](auto& c, const auto& v) { c.threads = number_in(v, 0, kMostCpuThreads); },
          [](Config c) { return Values{shortest(c.threads)}; }),
      one(
          "memory-limit", group, "BYTES",
          "500M, 4G: where a step needs more, values are computed again in the backward pass; default 0: what is free",
          [](auto& c, const auto& v) { c.memory_limit = parse_memory_size(v); }, [](Config c) { return Values{shortest(c.memory_limit)}; }),
      {"fusion", group, "NAME,...", "on, off, or the rewrites of the graph to make: bn+relu,conv+relu,...; default on", Kind::list,
       [](auto& c, const Values& v) { c.fusion = parse_fusions(v); }, [](Config c) { return words_of(c.fusion); }},
      {"tune", group, "", "time the kernels that each layer may run with, once for each card; default on a GPU", Kind::toggle,
       [](auto& c, const Values& v) { c.tune = yes_or_no(v.at(0)); }, [](Config c) { return c.tune ? toggle(*c.tune) : Values{}; }},
      one(
          "out", group, "DIR", "run directory; default runs/<n>", [](auto& c, const auto& v) { c.out = v; },
          [](Config c) { return some(c.out); }),
  };
}

}  // namespace

std::uint64_t parse_memory_size(const std::string& text) {
  std::size_t digits = 0;
  while (digits < text.size() && (std::isdigit(static_cast<unsigned char>(text[digits])) || text[digits] == '.')) ++digits;
  if (digits == 0) reject("'", text, "' is no size in bytes; write 500M or 4G");
  const double value = number<double>(text.substr(0, digits));
  std::string unit = text.substr(digits);
  if (unit.ends_with("iB"))
    unit.resize(unit.size() - 2);
  else if (unit.ends_with("B"))
    unit.resize(unit.size() - 1);
  const std::size_t power = unit.empty() ? 0 : std::string("KMGT").find(unit) + 1;
  if (unit.size() > 1 || (!unit.empty() && power == 0)) reject("'", text, "' is no size in bytes; write 500M or 4G");
  const double bytes = value * std::pow(1024.0, static_cast<double>(power));
  if (bytes >= 0x1p63) reject("'", text, "' is too large");
  return static_cast<std::uint64_t>(bytes);
}

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = [] {
    std::vector<Setting> list;
    for (auto&& part : {data_settings(), sequence_settings(), model_settings(), training_settings(), machine_settings()})
      list.insert(list.end(), part.begin(), part.end());
    return list;
  }();
  return all;
}

void set(TrainConfig& config, const Setting& setting, const std::vector<std::string>& values, const std::string& where) {
  try {
    setting.set(config, values);
  } catch (const Error& error) {
    reject(where, ": ", error.what());
  }
}

}  // namespace epitaxy
