// Training that stops anywhere and goes on equals training that never stopped, bit for bit.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "epitaxy/train/run_directory.h"
#include "epitaxy/train/train.h"
#include "tests/support/compare.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"

namespace epitaxy {
namespace {

namespace fs = std::filesystem;

class Resume : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / (std::string("resume_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string in(const std::string& name) const { return (folder_ / name).string(); }
  fs::path folder_;
};

/// 64 training images in 4 batches of 16 (one of 8 less for validation): dropout, batch normalisation, augmentation, momentum and a
/// schedule are all under way.
TrainConfig config(const std::string& out, int epochs = 3) {
  TrainConfig config;
  config.data.data = "lattice:count=80,size=32";
  config.model = "crystalnet";
  config.device = "cpu";
  config.threads = 1;
  config.epochs = epochs;
  config.batch = 16;
  config.augmentation.flip_horizontal = true;
  config.optimizer = OptimizerKind::adamw;
  config.out = out;
  return config;
}

/// Stops after so many steps of this call.
TrainObserver stopping(std::int64_t steps) {
  TrainObserver observer;
  observer.should_stop = [steps, done = std::int64_t{0}]() mutable { return ++done == steps; };
  return observer;
}

/// metrics.csv without the columns of time.
std::string course(const std::string& run) {
  std::string csv = read_text(run + "/metrics.csv"), result;
  std::istringstream lines(csv);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> cells;
    std::istringstream in(line);
    for (std::string cell; std::getline(in, cell, ',');) cells.push_back(cell);
    for (std::size_t i = 0; i < cells.size(); ++i)
      if (i != 8 && i != 9) result += cells[i] + ",";
    result += "\n";
  }
  return result;
}

void expect_same_runs(const std::string& a, const std::string& b) {
  EXPECT_EQ(read_text(a + "/weights.safetensors"), read_text(b + "/weights.safetensors"));
  EXPECT_EQ(read_text(a + "/model.json"), read_text(b + "/model.json"));
  EXPECT_EQ(course(a), course(b));
  const Checkpoint last_a = read_checkpoint(a + "/checkpoint.safetensors"), last_b = read_checkpoint(b + "/checkpoint.safetensors");
  ASSERT_EQ(last_a.optimizer.size(), last_b.optimizer.size());
  for (std::size_t i = 0; i < last_a.optimizer.size(); ++i)
    EXPECT_TRUE(test::same(last_a.optimizer[i].tensor, last_b.optimizer[i].tensor)) << last_a.optimizer[i].name;
}

TEST_F(Resume, AfterAnyStepTheResultIsThatOfARunNeverStopped) {
  const TrainResult whole = train(config(in("whole")));
  const auto& epochs = whole.history.epochs;
  const std::int64_t steps = epochs.back().step / 3;
  ASSERT_EQ(steps, 4);
  for (const std::int64_t stop : {std::int64_t{1}, steps, steps + 2, 3 * steps - 1}) {  // the first, an epoch's last, within, near the end
    const std::string run = in("stopped" + std::to_string(stop));
    if (stop <= steps) {
      EXPECT_THROW(train(config(run), stopping(stop)), Error);  // no epoch to give; kept all the same
    } else {
      EXPECT_EQ(train(config(run), stopping(stop)).history.stopped, "interrupted");
    }
    TrainConfig again;
    read_config(run + "/config.yaml", again);
    const TrainResult result = resume(run, again);
    EXPECT_EQ(result.history.best_epoch, whole.history.best_epoch);
    EXPECT_EQ(result.history.epochs.back().step, 3 * steps);
    expect_same_runs(in("whole"), run);
  }
}

TEST_F(Resume, StoppedTwiceAndOnTheEmulatedDevice) {
  const Device device = parse_device("emulated");
  if (const std::string why = test::why_absent(device); !why.empty()) {
    test::skip_device(device, why);
    GTEST_SKIP() << why;
  }
  const auto small = [&](const std::string& out) {
    TrainConfig c = config(out, 2);
    c.data.data = "lattice:count=20,size=16";
    c.data.test_fraction = 0.1;
    c.model = "mlp";
    c.hidden = {8};
    c.batch = 8;
    c.precision = Precision::fp16;  // with a loss scale that moves on
    c.device = "emulated";
    return c;
  };
  train(small(in("whole")));
  EXPECT_THROW(train(small(in("stopped")), stopping(1)), Error);
  TrainConfig again;
  read_config(in("stopped/config.yaml"), again);
  EXPECT_EQ(resume(in("stopped"), again, stopping(2)).history.stopped, "interrupted");
  resume(in("stopped"), again);
  expect_same_runs(in("whole"), in("stopped"));
}

TEST_F(Resume, AFinishedRunTakesMoreEpochs) {
  TrainConfig constant = config(in("two"), 2);
  constant.schedule = Schedule::constant;  // others depend on the number of epochs
  train(constant);
  TrainConfig again;
  read_config(in("two/config.yaml"), again);
  EXPECT_THROW(resume(in("two"), again), Error);  // nothing left to do
  again.epochs = 3;
  resume(in("two"), again);
  constant.epochs = 3;
  constant.out = in("three");
  train(constant);
  expect_same_runs(in("three"), in("two"));
  TrainConfig written;
  read_config(in("two/config.yaml"), written);
  EXPECT_EQ(written.epochs, 3);
}

TEST_F(Resume, RefusesOtherDataAndDamage) {
  train(config(in("run"), 1));
  TrainConfig again;
  read_config(in("run/config.yaml"), again);
  again.epochs = 2;
  TrainConfig other = again;
  other.data.data = "lattice:count=81,size=32";
  EXPECT_THROW(resume(in("run"), other), Error);
  EXPECT_THROW(resume(in("none"), again), Error);
  fs::resize_file(in("run/checkpoint.safetensors"), fs::file_size(in("run/checkpoint.safetensors")) - 4);
  EXPECT_THROW(resume(in("run"), again), Error);
  fs::remove(in("run/checkpoint.safetensors"));
  EXPECT_THROW(resume(in("run"), again), Error);
}

TEST_F(Resume, RefusesOtherSettingsAndAnotherValidationPart) {
  const auto rows = [](double last) {
    std::string csv = "x,y\n";
    for (int i = 0; i < 40; ++i) csv += std::to_string(i * 7 % 40) + "," + std::to_string(i < 39 ? i : last) + "\n";
    return csv;
  };
  const auto put = [&](const std::string& csv) {
    AtomicFile file(in("t.csv"));
    file.write(csv);
    file.commit();
  };
  put(rows(39));
  TrainConfig table = config(in("run"), 1);
  table.data.data = in("t.csv");
  table.data.target = {"y"};
  table.data.test_fraction = 0;
  table.data.unshuffled_tail = true;  // the last row is in the validation part
  table.augmentation = {};
  table.model = "mlp";
  train(table);
  TrainConfig again;
  read_config(in("run/config.yaml"), again);
  again.epochs = 2;
  TrainConfig other = again;
  other.learning_rate = 0.5f;
  EXPECT_THROW(resume(in("run"), other), Error);
  other = again;
  other.seed = 7;
  EXPECT_THROW(resume(in("run"), other), Error);
  put(rows(38.5));
  EXPECT_THROW(resume(in("run"), again), Error);
  put(rows(39));
  again.threads = 2;
  again.patience = 5;
  EXPECT_EQ(resume(in("run"), again).history.epochs.size(), 2u);
}

TEST_F(Resume, DamageAnywhereIsSaid) {
  train(config(in("run"), 1));
  const std::string file = in("run/checkpoint.safetensors");
  const std::string good = read_text(file);
  const auto read_with = [&](std::size_t at) {
    std::string bent = good;
    bent[at] = static_cast<char>(bent[at] ^ 1);
    AtomicFile out(file);
    out.write(bent);
    out.commit();
    read_checkpoint(file);
  };
  const std::size_t state = good.find("learning_rate"), origin = good.find("origin"), step = good.find("step");
  ASSERT_TRUE(state != std::string::npos && origin != std::string::npos && step != std::string::npos);
  for (const std::size_t at : {state + 19, origin + 10, step + 7, good.find("\"shape\"") + 1, good.size() - 1})
    EXPECT_THROW(read_with(at), Error) << good.substr(at - 10, 20);
}

TEST_F(Resume, ARunKilledBeforeItsEndIsTold) {
  const TrainResult whole = train(config(in("whole"), 2));
  train(config(in("killed"), 2));
  fs::remove(in("killed/metrics.json"));  // killed between its last checkpoint and its end
  fs::remove(in("killed/weights.safetensors"));
  { std::ofstream(in("killed/metrics.json.partial-1")) << "{"; }
  TrainConfig again;
  read_config(in("killed/config.yaml"), again);
  EXPECT_EQ(resume(in("killed"), again).history.best_epoch, whole.history.best_epoch);
  expect_same_runs(in("whole"), in("killed"));
  EXPECT_TRUE(fs::exists(in("killed/metrics.json")));
  EXPECT_FALSE(fs::exists(in("killed/metrics.json.partial-1")));
  EXPECT_THROW(resume(in("killed"), again), Error) << "nothing is left to do";
}

TEST_F(Resume, OneProcessAtATime) {
  train(config(in("run"), 1));
  TrainConfig again;
  read_config(in("run/config.yaml"), again);
  again.epochs = 2;
  {
    const RunDirectory held = RunDirectory::existing(in("run"));
    EXPECT_THROW(resume(in("run"), again), Error);
  }
  EXPECT_EQ(resume(in("run"), again).history.epochs.size(), 2u);
  const RunDirectory fresh(in("fresh"));
  EXPECT_THROW(RunDirectory::existing(in("fresh")), Error);
}

}  // namespace
}  // namespace epitaxy
