// The training loop on small networks: it learns, keeps the best epoch, stops when told, and repeats itself bit for bit.
#include "epitaxy/train/fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/support/compare.h"

namespace epitaxy {
namespace {

/// Points in the plane: class 1 where x * y > 0. Not linearly separable.
Dataset quadrants(std::int64_t count, std::uint64_t seed) {
  Dataset data;
  data.inputs = test::make({DType::fp32, {count, 2}}, test::Fill::uniform(-1, 1), seed);
  data.targets = Tensor(cpu_backend(), {DType::int32, {count}});
  for (std::int64_t i = 0; i < count; ++i) {
    const float* x = data.inputs.as<float>() + 2 * i;
    data.targets.as<std::int32_t>()[i] = x[0] * x[1] > 0;
  }
  data.class_names = {"unlike", "alike"};
  data.source = "quadrants";
  return data;
}

/// y = 500 + 100 x0 - 50 x1.
Dataset plane(std::int64_t count, std::uint64_t seed) {
  Dataset data;
  data.task = Task::regression;
  data.inputs = test::make({DType::fp32, {count, 2}}, test::Fill::uniform(-1, 1), seed);
  data.targets = Tensor(cpu_backend(), {DType::fp32, {count, 1}});
  for (std::int64_t i = 0; i < count; ++i) {
    const float* x = data.inputs.as<float>() + 2 * i;
    data.targets.as<float>()[i] = 500 + 100 * x[0] - 50 * x[1];
  }
  data.target_names = {"y"};
  data.source = "plane";
  return data;
}

CompileOptions classes(float rate = 0.01f) {
  CompileOptions options;
  options.optimizer.learning_rate = rate;
  options.seed = 3;
  return options;
}

TEST(Fit, LearnsAProblemThatIsNotLinear) {
  const Dataset train = quadrants(512, 1), validation = quadrants(200, 2);
  CompiledModel model(mlp({2}, 2, {16, 16}), classes());
  FitOptions options;
  options.epochs = 30;
  options.batch = 50;  // 10 full batches and a tail of 12
  std::vector<EpochRecord> seen;
  std::int64_t last_step = 0, reports = 0;
  options.on_epoch = [&](const EpochRecord& record) { seen.push_back(record); };
  options.on_step = [&](const StepReport& report) {
    ++reports;
    last_step = report.step;
    EXPECT_EQ(report.steps, 11);
    EXPECT_GE(report.seconds_left, 0);
  };
  const History history = fit(model, train, validation, {}, options);
  ASSERT_EQ(history.epochs.size(), 30u);
  EXPECT_EQ(seen.size(), 30u);
  EXPECT_GE(reports, 30);
  EXPECT_EQ(last_step, 11);
  EXPECT_EQ(history.epochs.back().step, 330);
  EXPECT_EQ(model.step(), 330);
  EXPECT_LT(history.epochs.back().loss, 0.5 * history.epochs.front().loss);
  EXPECT_GT(history.epochs.back().validation->accuracy, 0.93);
  EXPECT_GT(history.epochs.back().metric, 0.93);
}

TEST(Fit, TheBestEpochsWeightsAreKept) {
  // A learning rate that is far too large makes the loss rise again.
  const Dataset train = quadrants(128, 1), validation = quadrants(64, 2);
  CompiledModel model(mlp({2}, 2, {16}), classes(0.3f));
  FitOptions options;
  options.epochs = 15;
  const History history = fit(model, train, validation, {}, options);
  int best = 1;
  for (const auto& epoch : history.epochs) {
    if (epoch.validation->loss < history.epochs[static_cast<std::size_t>(best - 1)].validation->loss) best = epoch.epoch;
    EXPECT_EQ(epoch.best, best == epoch.epoch);
  }
  EXPECT_EQ(history.best_epoch, best);
  ASSERT_LT(best, 15);  // else this test shows nothing
  EXPECT_DOUBLE_EQ(evaluate(model, validation, {}, 32).loss, history.epochs[static_cast<std::size_t>(best - 1)].validation->loss);
}

TEST(Fit, SelectionByMetricAndLast) {
  const Dataset train = quadrants(128, 1), validation = quadrants(64, 2);
  for (const Selection selection : {Selection::metric, Selection::last}) {
    CompiledModel model(mlp({2}, 2, {16}), classes(0.3f));
    FitOptions options;
    options.epochs = 12;
    options.selection = selection;
    const History history = fit(model, train, validation, {}, options);
    const Evaluation kept = evaluate(model, validation, {}, 32);
    if (selection == Selection::last) {
      EXPECT_EQ(history.best_epoch, 12);
      EXPECT_DOUBLE_EQ(kept.loss, history.epochs.back().validation->loss);
    } else {
      for (const auto& epoch : history.epochs) EXPECT_GE(kept.balanced_accuracy, epoch.validation->balanced_accuracy);
    }
  }
}

TEST(Fit, PatienceStopsTraining) {
  CompiledModel model(mlp({2}, 2, {16}), classes(0.3f));
  FitOptions options;
  options.epochs = 500;
  options.patience = 3;
  const History history = fit(model, quadrants(64, 1), quadrants(64, 2), {}, options);
  EXPECT_EQ(history.stopped, "patience");
  EXPECT_EQ(static_cast<int>(history.epochs.size()), history.best_epoch + 3);
}

TEST(Fit, TheTargetLossStopsTraining) {
  CompiledModel model(mlp({2}, 2, {16, 16}), classes());
  FitOptions options;
  options.epochs = 500;
  options.target_loss = 0.5;
  const History history = fit(model, quadrants(256, 1), {}, {}, options);
  EXPECT_EQ(history.stopped, "target");
  EXPECT_LE(history.epochs.back().loss, 0.5);
  for (std::size_t i = 0; i + 1 < history.epochs.size(); ++i) EXPECT_GT(history.epochs[i].loss, 0.5);
}

TEST(Fit, AnInterruptRestoresTheLastGoodEpoch) {
  const Dataset train = quadrants(128, 1), validation = quadrants(64, 2);
  CompiledModel model(mlp({2}, 2, {16}), classes());
  FitOptions options;
  options.epochs = 50;
  int asked = 0;
  options.should_stop = [&] { return ++asked == 4 * 3 + 2; };  // in the middle of epoch 4
  const History history = fit(model, train, validation, {}, options);
  EXPECT_EQ(history.stopped, "interrupted");
  ASSERT_EQ(history.epochs.size(), 3u);
  EXPECT_DOUBLE_EQ(evaluate(model, validation, {}, 32).loss,
                   history.epochs[static_cast<std::size_t>(history.best_epoch - 1)].validation->loss);
}

TEST(Fit, RepeatsItselfBitForBit) {
  const Dataset train = quadrants(200, 1);
  std::vector<std::vector<NamedTensor>> weights;
  for (const std::uint64_t seed : {7u, 7u, 8u}) {
    CompiledModel model(mlp({2}, 2, {16}), classes());
    FitOptions options;
    options.epochs = 3;
    options.seed = seed;
    fit(model, train, {}, {}, options);
    weights.push_back(model.weights());
  }
  bool differ = false;
  for (std::size_t i = 0; i < weights[0].size(); ++i) {
    EXPECT_TRUE(test::same(weights[0][i].tensor, weights[1][i].tensor)) << weights[0][i].name;
    differ |= std::memcmp(weights[0][i].tensor.data(), weights[2][i].tensor.data(), weights[0][i].tensor.bytes()) != 0;
  }
  EXPECT_TRUE(differ);  // another order of the items
}

TEST(Fit, RegressionMetricsAreInTheUsersUnits) {
  const Dataset train = plane(256, 1), validation = plane(100, 2);
  const Normalisation normalisation = fit_normalisation(train, NormaliseKind::standardise, true);
  CompileOptions compiled = classes(0.01f);
  compiled.loss = LossKind::mean_squared_error;
  compiled.mean = normalisation.mean;
  compiled.scale = normalisation.scale;
  CompiledModel model(mlp({2}, 1, {16}), compiled);
  FitOptions options;
  options.epochs = 40;
  const History history = fit(model, train, validation, normalisation, options);
  EXPECT_GT(history.epochs.front().metric, 10);  // the targets' mean absolute deviation is about 50
  EXPECT_LT(history.epochs.back().metric, 5);
  EXPECT_LT(history.epochs.back().validation->mae, 5);
  const Evaluation kept = evaluate(model, validation, normalisation, 32, {1, 200});
  EXPECT_LE(kept.mae_interval.low, kept.mae);
  EXPECT_GE(kept.mae_interval.high, kept.mae);
  EXPECT_LE(kept.mae, kept.rmse);
  // The same by hand.
  const Tensor values = readable_outputs(predict_all(model, validation, 33), compiled.loss, normalisation);
  double sum = 0;
  for (std::int64_t i = 0; i < 100; ++i) sum += std::fabs(values.as<float>()[i] - validation.targets.as<float>()[i]);
  EXPECT_NEAR(kept.mae, sum / 100, 1e-4);
  EXPECT_EQ(to_json(kept).find("accuracy"), std::string::npos);
}

TEST(Fit, ALossThatIsNotFiniteFails) {
  Dataset train = quadrants(64, 1);
  train.inputs.as<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  CompiledModel model(mlp({2}, 2, {4}), classes());
  EXPECT_THROW(fit(model, train, {}, {}, {}), Error);
}

TEST(Fit, BatchSizesOfAnEpoch) {
  EXPECT_EQ(batch_sizes(100, 32), (std::vector<std::int64_t>{32, 4}));
  EXPECT_EQ(batch_sizes(96, 32), (std::vector<std::int64_t>{32}));
  EXPECT_EQ(batch_sizes(5, 32), (std::vector<std::int64_t>{5}));
  EXPECT_TRUE(batch_sizes(0, 32).empty());
}

/// What a device draws and moves is what the loader would have: the same weights, bit for bit, tail batches included.
TEST(Fit, AugmentsOnTheDeviceAsTheLoaderDoes) {
  const Device device = parse_device("emulated");
  if (const std::string why = test::why_absent(device); !why.empty()) {
    test::skip_device(device, why);
    GTEST_SKIP() << why;
  }
  Dataset data;
  data.inputs = test::make({DType::uint8, {10, 6, 6, 1}}, test::Fill::uniform(0, 255), 1);
  data.targets = test::make({DType::int32, {10}}, test::Fill::integers(0, 1), 2);
  data.class_names = {"a", "b"};
  data.source = "noise";
  FitOptions fitting;
  fitting.epochs = 2;
  fitting.batch = 4;
  fitting.seed = 3;
  fitting.augmentation = {.flip_horizontal = true, .rotate = true, .shift = 2};
  std::vector<std::vector<NamedTensor>> weights;
  for (const int way : {0, 1, 2}) {  // by the loader, on the device, not at all
    CompileOptions options = classes();
    options.device = device;
    options.input_dtype = DType::uint8;
    options.mean = {120};
    options.scale = {0.01f};
    if (way == 1) options.augmentation = fitting.augmentation;
    if (way == 2) fitting.augmentation = {};
    CompiledModel model(mlp({6, 6, 1}, 2, {8}), options);
    fit(model, data, {}, {}, fitting);
    weights.push_back(model.weights());
  }
  for (std::size_t i = 0; i < weights[0].size(); ++i) {
    EXPECT_TRUE(test::same(weights[0][i].tensor, weights[1][i].tensor)) << weights[0][i].name;
    EXPECT_FALSE(test::same(weights[0][i].tensor, weights[2][i].tensor)) << weights[0][i].name;
  }
}

TEST(Fit, AnAugmentedStepNamesItsSamples) {
  CompileOptions options = classes();
  options.augmentation.flip_vertical = true;
  CompiledModel model(mlp({4, 4, 1}, 2, {8}), options);
  const Tensor images = test::make({DType::fp32, {3, 4, 4, 1}}, test::Fill::normal(), 1),
               targets = test::make({DType::int32, {3}}, test::Fill::integers(0, 1), 2);
  const std::int64_t samples[] = {7, 8, 9};
  EXPECT_THROW(model.train_step(images, targets, 0.1f), Error);
  EXPECT_THROW(model.train_step(images, targets, 0.1f, {0, std::span(samples).first(2)}), Error);
  model.train_step(images, targets, 0.1f, {0, samples});
  CompiledModel plain(mlp({4, 4, 1}, 2, {8}), classes());
  EXPECT_THROW(plain.train_step(images, targets, 0.1f, {0, samples}), Error);
}

}  // namespace
}  // namespace epitaxy
