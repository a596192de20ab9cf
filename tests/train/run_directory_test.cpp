// Run directories: claimed once, complete or gone; model.json; class weights; foretold memory.
#include "epitaxy/train/run_directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "epitaxy/train/train.h"
#include "tests/support/compare.h"
#include "train/atomic_file.h"

namespace epitaxy {
namespace {

namespace fs = std::filesystem;

class RunFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / (std::string("runs_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string in(const std::string& name) const { return (folder_ / name).string(); }
  fs::path folder_;
};

TEST_F(RunFolder, IsRemovedUnlessKept) {
  {
    const RunDirectory run(in("a/b"));
    run.write("config.yaml", "x: 1\n");
    EXPECT_EQ(read_text(in("a/b/config.yaml")), "x: 1\n");
  }
  EXPECT_FALSE(fs::exists(in("a/b")));
  {
    RunDirectory run(in("c/"));
    run.write("config.yaml", "");
    run.keep();
  }
  EXPECT_TRUE(fs::exists(in("c/config.yaml")));
  EXPECT_THROW(RunDirectory{in("c")}, Error);
  EXPECT_THROW(RunDirectory{in("c/")}, Error);
  EXPECT_TRUE(fs::exists(in("c/config.yaml")));
}

TEST_F(RunFolder, OthersFilesInItSurvive) {
  {
    const RunDirectory run(in("a"));
    std::ofstream(in("a/mine.txt")) << "mine";
  }
  EXPECT_TRUE(fs::exists(in("a/mine.txt")));
}

TEST_F(RunFolder, AnUnfinishedWriteLeavesWhatWasThere) {
  {
    AtomicFile file(in("x"));
    file.write("first");
    file.commit();
  }
  {
    AtomicFile file(in("x"));
    file.write("second, never finished");
  }
  EXPECT_EQ(read_text(in("x")), "first");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
  EXPECT_THROW(read_text(in("y")), Error);
  EXPECT_THROW(read_text(in("x"), 3), Error);
}

ModelCard card() {
  ModelCard card;
  card.model = mlp({2}, 3, {4});
  card.class_names = {"a", "b", "c \"quoted\""};
  card.feature_names = {"x", "y"};
  card.normalisation = {NormaliseKind::standardise, {0.1f, 1e-20f}, {3.0f, 7.7e8f}, {}, {}};
  return card;
}

TEST(ModelCardText, RoundTrip) {
  const ModelCard back = ModelCard::from_json(card().to_json());
  EXPECT_EQ(back.to_json(), card().to_json());
  EXPECT_EQ(back.normalisation.mean, card().normalisation.mean);  // every bit
  EXPECT_EQ(back.normalisation.scale, card().normalisation.scale);
  EXPECT_EQ(back.class_names[2], "c \"quoted\"");
  ModelCard values = card();
  values.task = Task::regression;
  values.loss = LossKind::huber;
  values.precision = Precision::bf16;
  values.target_names = {"p", "q", "r"};
  values.normalisation.target_mean = {1, 2, 3};
  values.normalisation.target_scale = {0.5f, 0.25f, 0.1f};
  const ModelCard regression = ModelCard::from_json(values.to_json());
  EXPECT_EQ(regression.task, Task::regression);
  EXPECT_EQ(regression.loss, LossKind::huber);
  EXPECT_EQ(regression.precision, Precision::bf16);
  EXPECT_EQ(regression.normalisation.target_scale, values.normalisation.target_scale);
}

TEST(ModelCardText, WhatDoesNotFitIsRefused) {
  ModelCard bad = card();
  bad.class_names.pop_back();
  EXPECT_THROW(ModelCard::from_json(bad.to_json()), Error);
  bad = card();
  bad.normalisation.mean.pop_back();
  EXPECT_THROW(ModelCard::from_json(bad.to_json()), Error);
  bad = card();
  bad.feature_names.push_back("z");
  EXPECT_THROW(ModelCard::from_json(bad.to_json()), Error);
}

TEST(ModelCardText, InputsUnlikeTrainingAreRefused) {
  Dataset data;
  data.inputs = Tensor(cpu_backend(), {DType::fp32, {5, 2}});
  EXPECT_NO_THROW(check_inputs(card(), data));
  data.inputs = Tensor(cpu_backend(), {DType::fp32, {5, 3}});
  EXPECT_THROW(check_inputs(card(), data), Error);
  data.inputs = Tensor(cpu_backend(), {DType::uint16, {5, 2}});
  EXPECT_THROW(check_inputs(card(), data), Error);
}

TEST(Training, ClassWeights) {
  Dataset data;
  data.class_names = {"a", "b", "c"};
  data.inputs = Tensor(cpu_backend(), {DType::fp32, {8, 1}});
  data.targets = Tensor(cpu_backend(), {DType::int32, {8}});
  for (int i = 0; i < 8; ++i) data.targets.as<std::int32_t>()[i] = i < 6 ? 0 : 1;
  EXPECT_TRUE(class_weights_of("none", data).empty());
  EXPECT_EQ(class_weights_of("balanced", data), (std::vector<float>{8.0f / 18, 8.0f / 6, 0}));
  EXPECT_EQ(class_weights_of("1,2.5,0", data), (std::vector<float>{1, 2.5f, 0}));
  for (const char* bad : {"1,2", "1,2,3,4", "1,x,2", "1,-2,3", "1,2 3,4", "even", "0,0,0", "1,nan,1"})
    EXPECT_THROW(class_weights_of(bad, data), Error) << bad;
}

}  // namespace
}  // namespace epitaxy
