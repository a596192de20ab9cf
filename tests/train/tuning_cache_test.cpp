// The tuning cache, and a run that is tuned: its choices are stored, found again, and used when the run is read back.
#include "train/tuning_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "epitaxy/train/run_directory.h"
#include "epitaxy/train/train.h"
#include "tests/support/compare.h"
#include "train/atomic_file.h"

namespace epitaxy::test {
namespace {

namespace fs = std::filesystem;

class TuningCache : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / (std::string("tuning_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    setenv("EPITAXY_CACHE", (folder_ / "cache").c_str(), 1);
  }
  void TearDown() override {
    unsetenv("EPITAXY_CACHE");
    fs::remove_all(folder_);
  }
  fs::path folder_;
};

TEST_F(TuningCache, AddsToWhatIsThere) {
  EXPECT_EQ(read_tuning_cache({}).size(), 0u);
  Tuning first, second;
  first.set("a", "1");
  second.set("a", "2");
  second.set("b", "3");
  EXPECT_EQ(write_tuning_cache({}, first), "");
  EXPECT_EQ(write_tuning_cache({}, second), "");
  EXPECT_EQ(read_tuning_cache({}), second);
  EXPECT_EQ(write_tuning_cache({}, first), "");
  EXPECT_EQ(read_tuning_cache({}).find("a"), "1");
  EXPECT_EQ(read_tuning_cache({}).find("b"), "3");
  EXPECT_NE(tuning_cache_path({}).find(EPITAXY_VERSION), std::string::npos);
}

TEST_F(TuningCache, ADamagedFileCountsAsNone) {
  Tuning tuning;
  tuning.set("a", "1");
  EXPECT_EQ(write_tuning_cache({}, tuning), "");
  std::ofstream(tuning_cache_path({})) << "{\"a\":";
  EXPECT_EQ(read_tuning_cache({}).size(), 0u);
  EXPECT_EQ(write_tuning_cache({}, tuning), "");
  EXPECT_EQ(read_tuning_cache({}), tuning);
}

TEST_F(TuningCache, APlaceThatCannotBeWrittenIsNoFailure) {
  setenv("EPITAXY_CACHE", "/proc/none", 1);
  Tuning tuning;
  tuning.set("a", "1");
  EXPECT_NE(write_tuning_cache({}, tuning).find("/proc/none"), std::string::npos);
  EXPECT_EQ(read_tuning_cache({}).size(), 0u);
}

TEST_F(TuningCache, ATunedRunKeepsItsChoices) {
  const Device device = parse_device("emulated");
  if (const std::string why = why_absent(device); !why.empty()) {
    skip_device(device, why);
    GTEST_SKIP() << why;
  }
  TrainConfig config;
  config.data.data = "lattice:count=20,size=16";
  config.device = "emulated";
  config.epochs = 1;
  config.batch = 8;
  config.tune = true;
  config.out = (folder_ / "run").string();
  train(config, {});
  const auto run = load_run(config.out);
  ASSERT_TRUE(run.tuning);
  EXPECT_GE(run.tuning->size(), 6u);
  EXPECT_EQ(read_tuning_cache(device), *run.tuning);
  compile(run, device, Precision::fp32)->predict(make({DType::uint8, {2, 16, 16, 1}}, Fill::uniform(0, 255), 1));

  config.out = (folder_ / "again").string();  // from the cache: the same choices and bits
  train(config, {});
  EXPECT_EQ(read_text(config.out + "/tuning.json"), read_text(run.path + "/tuning.json"));
  EXPECT_EQ(read_text(config.out + "/weights.safetensors"), read_text(run.path + "/weights.safetensors"));
}

}  // namespace
}  // namespace epitaxy::test
