// Experiment files: reading, refusing, writing, and the defaults.
#include "epitaxy/train/config.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/compare.h"
#include "train/memory_size.h"

namespace epitaxy {
namespace {

std::string refusal(const std::string& yaml) {
  try {
    TrainConfig config;
    parse_config(yaml, "run.yaml", config);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "accepted";
}

Dataset images(std::int64_t count, Task task = Task::classification) {
  Dataset data;
  data.inputs = Tensor(cpu_backend(), {DType::uint8, {count, 16, 16, 1}});
  data.task = task;
  data.class_names = {"a", "b"};
  return data;
}

TEST(Config, SequencesAreReadAndWritten) {
  TrainConfig c;
  parse_config(
      "columns: [unit, cycle, s1]\nsplit-column: part\nsequence: unit\ntime: cycle\nwindow: 30\nstride: 2\npad: true\n"
      "remaining-life: true\ntarget-cap: 125\ntest-targets: rul.txt\nwide: true\nextra-training: more.txt\n",
      "run.yaml", c);
  TrainConfig again;
  parse_config(to_yaml(c), "again.yaml", again);
  for (const DataOptions& data : {c.data, again.data}) {
    EXPECT_EQ(data.columns, (std::vector<std::string>{"unit", "cycle", "s1"}));
    EXPECT_EQ(data.split_column, "part");
    EXPECT_EQ(data.sequence, "unit");
    EXPECT_EQ(data.time, "cycle");
    EXPECT_EQ(data.window, 30);
    EXPECT_EQ(data.stride, 2);
    EXPECT_EQ(data.target_cap, 125);
    EXPECT_EQ(data.test_targets, "rul.txt");
    EXPECT_EQ(data.extra_training, "more.txt");
    EXPECT_TRUE(data.pad && data.remaining_life && data.wide);
  }
  EXPECT_NE(refusal("window: 0\n").find("window"), std::string::npos);
  EXPECT_NE(refusal("target-cap: -1\n").find("target-cap"), std::string::npos);
}

TEST(Config, EveryKeyIsRead) {
  TrainConfig c;
  parse_config(
      "data: folder\ntarget: [yield strength, 'a, b']\nfeatures: c,mn\ngroup: specimen\ntask: regression\nvalidation_fraction: 0.25\n"
      "validation-tail: true\ntest-fraction: 0\nsplit-seed: 9\nnormalise: minmax\nflip: both\nrotate: yes\nshift: 3\nshift-fill: wrap\n"
      "model: mlp\nhidden: [8, 4]\nloss: huber\nepochs: 7\nbatch: 16\nlr: 0.5\noptimizer: sgd\nweight-decay: 0.125\nmomentum: 0.5\n"
      "nesterov: true\nclip-norm: 1\nschedule: step\nselect: metric\npatience: 2\nseed: 18446744073709551615\ndevice: cpu\nprecision: "
      "bf16\n"
      "threads: 1\nmemory-limit: 2G\nout: x\n",
      "run.yaml", c);
  EXPECT_EQ(c.data.data, "folder");
  EXPECT_EQ(c.data.target, (std::vector<std::string>{"yield strength", "a, b"}));
  EXPECT_EQ(c.data.features, (std::vector<std::string>{"c", "mn"}));
  EXPECT_EQ(c.data.task, Task::regression);
  EXPECT_EQ(c.data.validation_fraction, 0.25);
  EXPECT_TRUE(c.data.unshuffled_tail);
  EXPECT_EQ(c.data.seed, 9u);
  EXPECT_TRUE(c.augmentation.flip_horizontal && c.augmentation.flip_vertical && c.augmentation.rotate);
  EXPECT_EQ(c.augmentation.shift, 3);
  EXPECT_EQ(c.augmentation.fill, ShiftFill::wrap);
  EXPECT_EQ(c.hidden, (std::vector<std::int64_t>{8, 4}));
  EXPECT_EQ(c.loss, LossKind::huber);
  EXPECT_EQ(c.learning_rate, 0.5f);
  EXPECT_EQ(c.optimizer, OptimizerKind::sgd);
  EXPECT_EQ(c.schedule, Schedule::step);
  EXPECT_EQ(c.select, Selection::metric);
  EXPECT_EQ(c.seed, 18446744073709551615u);
  EXPECT_EQ(c.precision, Precision::bf16);
  EXPECT_EQ(c.memory_limit, std::uint64_t{2} << 30);
}

TEST(Config, AnUnknownKeyNamesItselfItsLineAndTheNearestKey) {
  EXPECT_EQ(refusal("data: x\n\nepoch: 3\n"), "'run.yaml' line 3: unknown key 'epoch'; did you mean 'epochs'?");
  EXPECT_NE(refusal("learning_rte: 3\n").find("line 1: unknown key 'learning_rte'"), std::string::npos);
  EXPECT_NE(refusal("lable-smoothing: 0\n").find("'label-smoothing'"), std::string::npos);
}

TEST(Config, BadValuesNameLineAndKey) {
  EXPECT_EQ(refusal("epochs: many\n"), "'run.yaml' line 1: epochs: 'many' is no whole number");
  EXPECT_NE(refusal("seed: 1\nepochs: 0\n").find("line 2: epochs: 0 is not within"), std::string::npos);
  EXPECT_NE(refusal("lr: .nan\n").find("lr"), std::string::npos);
  EXPECT_NE(refusal("lr: nan\n").find("not finite"), std::string::npos);
  EXPECT_NE(refusal("epochs: [1, 2]\n").find("one value"), std::string::npos);
  EXPECT_NE(refusal("epochs: {a: 1}\n").find("one value"), std::string::npos);
  EXPECT_NE(refusal("target: [[a]]\n").find("plain values"), std::string::npos);
  EXPECT_NE(refusal("optimizer: lion\n").find("unknown optimizer 'lion'"), std::string::npos);
  EXPECT_NE(refusal("rotate: maybe\n").find("neither true nor false"), std::string::npos);
  EXPECT_NE(refusal("epochs: 1\nepochs: 2\n").find("line 2: key 'epochs' is given twice"), std::string::npos);
  EXPECT_NE(refusal("- a\n- b\n").find("key: value"), std::string::npos);
  EXPECT_NE(refusal("a: [1\nb: 2\n").find("line"), std::string::npos);
}

TEST(Config, WhatIsWrittenIsReadBack) {
  TrainConfig config;
  parse_config("data: 'a: b #c'\ntarget: ['x, y', \"quote\\\" '\"]\nlr: 0.1\nseed: 3\nflip: vertical\nout: gone\nmemory-limit: 5000\n",
               "run.yaml", config);
  const TrainConfig effective = resolve(config, images(100));
  const std::string yaml = to_yaml(effective);
  TrainConfig back;
  parse_config(yaml, "again.yaml", back);
  EXPECT_EQ(to_yaml(back), yaml);
  EXPECT_EQ(back.data.data, "a: b #c");
  EXPECT_EQ(back.data.target, config.data.target);
  EXPECT_EQ(back.learning_rate, 0.1f);
  EXPECT_EQ(back.memory_limit, 5000u);
  EXPECT_TRUE(back.out.empty());
  EXPECT_EQ(back.epochs, effective.epochs);
}

TEST(Config, KeysAreDistinctAndExplained) {
  std::set<std::string> keys;
  for (const auto& setting : settings()) {
    EXPECT_TRUE(keys.insert(setting.key).second) << setting.key;
    EXPECT_FALSE(setting.help.empty()) << setting.key;
    EXPECT_EQ(setting.key.find('_'), std::string::npos) << setting.key;
  }
}

TEST(Config, DefaultsDependOnTheTask) {
  const TrainConfig classes = resolve({}, images(1000));
  EXPECT_EQ(classes.model, "crystalnet");
  EXPECT_EQ(classes.loss, LossKind::softmax_cross_entropy);
  EXPECT_FALSE(classes.standardise_targets.has_value());
  const TrainConfig values = resolve({}, images(1000, Task::regression));
  EXPECT_EQ(values.loss, LossKind::mean_squared_error);
  EXPECT_TRUE(values.standardise_targets.value());
  EXPECT_GT(resolve({}, images(100)).epochs.value(), resolve({}, images(50000)).epochs.value());
  EXPECT_EQ(classes.clip_norm, 0.0f);
  TrainConfig recurrent;
  recurrent.model = "lstm", recurrent.hidden = {32};
  EXPECT_EQ(resolve(recurrent, images(100)).clip_norm, 1.0f);
  EXPECT_TRUE(settings_without_effect(resolve(recurrent, images(100)), images(100)).empty());
  TrainConfig given;
  given.epochs = 3;
  given.learning_rate = 0.5f;
  EXPECT_EQ(resolve(given, images(10)).epochs, 3);
  EXPECT_EQ(resolve(given, images(10)).learning_rate, 0.5f);
  given.loss = LossKind::huber;
  EXPECT_THROW(resolve(given, images(10)), Error);
}

TEST(Config, RecurrentNetworksHaveKeysAndDefaults) {
  Dataset sequences = images(100);
  sequences.inputs = Tensor(cpu_backend(), {DType::fp32, {100, 6, 2}});
  const TrainConfig chosen = resolve({}, sequences);
  EXPECT_EQ(chosen.model, "lstm");
  EXPECT_EQ(chosen.clip_norm, 1.0f);
  EXPECT_EQ(model_options(chosen).pool, layers::SequencePool::last);

  TrainConfig given;
  parse_config("model: gru\nhidden: [8, 8]\npool: attention\nbidirectional: yes\ndropout: 0.25\n", "run.yaml", given);
  const TrainConfig all = resolve(given, sequences);
  const ModelOptions options = model_options(all);
  EXPECT_EQ(options.hidden, (std::vector<std::int64_t>{8, 8}));
  EXPECT_EQ(options.pool, layers::SequencePool::attention);
  EXPECT_TRUE(options.bidirectional);
  EXPECT_EQ(options.dropout, 0.25f);
  EXPECT_TRUE(settings_without_effect(all, sequences).empty());
  TrainConfig back;
  parse_config(to_yaml(all), "again.yaml", back);
  EXPECT_EQ(to_yaml(back), to_yaml(all));

  given.model = "xrdnet";
  given.hidden.clear();
  parse_config("stretch: 0.125\n", "run.yaml", given);
  EXPECT_EQ(given.stretch, 0.125);
  EXPECT_NE(to_yaml(resolve(given, sequences)).find("stretch: 0.125"), std::string::npos);
  EXPECT_EQ(settings_without_effect(resolve(given, sequences), sequences).size(), 2u) << "pool and bidirectional";
  EXPECT_NE(refusal("pool: first\n").find("one of none, last, mean, attention"), std::string::npos);
  EXPECT_NE(refusal("pool: none\n").find("a network pools its sequence"), std::string::npos);
  EXPECT_NE(refusal("dropout: 1\n").find("not within"), std::string::npos);
}

TEST(Config, MemorySizes) {
  EXPECT_EQ(parse_memory_size("123"), 123u);
  EXPECT_EQ(parse_memory_size("1.5K"), 1536u);
  EXPECT_EQ(parse_memory_size("500M"), 500u << 20);
  EXPECT_EQ(parse_memory_size("4GiB"), std::uint64_t{4} << 30);
  EXPECT_EQ(parse_memory_size("2TB"), std::uint64_t{2} << 40);
  for (const char* bad : {"", "G", "x", "-1", "1X", "1GG", "1e99", "nan"}) EXPECT_THROW(parse_memory_size(bad), Error) << bad;
  EXPECT_EQ(memory_text(312.0 * 0x1p20), "312 MiB");
  EXPECT_EQ(memory_text(1.5 * 0x1p30), "1.50 GiB");
}

TEST(Config, NamesInListsLoseTheirBlanks) {
  TrainConfig c;
  parse_config("target: yield strength, x\nfeatures: [' a', 'b ']\n", "run.yaml", c);
  EXPECT_EQ(c.data.target, (std::vector<std::string>{"yield strength", "x"}));
  EXPECT_EQ(c.data.features, (std::vector<std::string>{"a", "b"}));
}

TEST(Config, OneExperimentAFile) {
  EXPECT_NE(refusal("epochs: 1\n---\nepochs: 2\n").find("2 experiments"), std::string::npos);
  EXPECT_EQ(refusal("---\nepochs: 1\n"), "accepted");
  EXPECT_EQ(refusal("# nothing\n"), "accepted");
}

TEST(Config, SettingsWithoutEffectAreSaid) {
  TrainConfig c;
  EXPECT_TRUE(settings_without_effect(resolve(c, images(100)), images(100)).empty());
  c.hidden = {8};
  c.momentum = 0.5f;
  c.standardise_targets = true;
  c.schedule = Schedule::constant;
  c.warmup = 0.1;
  EXPECT_EQ(settings_without_effect(resolve(c, images(100)), images(100)).size(), 4u);
  c.model = "mlp";
  c.optimizer = OptimizerKind::sgd;
  EXPECT_EQ(settings_without_effect(resolve(c, images(100)), images(100)).size(), 2u);
}

}  // namespace
}  // namespace epitaxy
