// Sequences with the real program: training on windows, scoring and predicting units, and what it says about bad tables.
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cli/program.h"

namespace epitaxy::test {
namespace {

using Json = nlohmann::json;

/// Units whose sensor falls while they wear out, without header: unit, cycle, sensor. Lives of 12 + u cycles, the last `cut` cycles cut.
std::string wear(int units, int cut) {
  std::ostringstream rows;
  for (int u = 1; u <= units; ++u)
    for (int t = 1; t <= 12 + u - cut; ++t) rows << u << ' ' << t << ' ' << std::min(12 + u - t, 10) + 0.1 * ((7 * t + 3 * u) % 5) << " \n";
  return rows.str();
}

class Sequences : public Program {
 protected:
  std::vector<std::string> train(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> all{"train",
                                 "--data",
                                 "fleet",
                                 "--columns",
                                 "unit,cycle,sensor",
                                 "--sequence",
                                 "unit",
                                 "--time",
                                 "cycle",
                                 "--window",
                                 "5",
                                 "--remaining-life",
                                 "--target-cap",
                                 "10",
                                 "--test-targets",
                                 "left.txt",
                                 "--threads",
                                 "1",
                                 "--device",
                                 "cpu",
                                 "--hidden",
                                 "8",
                                 "--out",
                                 out};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void SetUp() override {
    Program::SetUp();
    if (IsSkipped()) return;
    put(in("fleet/train_1.txt"), wear(12, 0));
    put(in("fleet/test_1.txt"), wear(6, 4));
    put(in("fleet/left.txt"), "4\n4\n4\n4\n4\n4\n");
  }
};

TEST_F(Sequences, SimulatedPowderPatterns) {
  EXPECT_NE(done({"simulate", "powder:count=40,steps=64", "--out", "patterns.csv"}).find("40 patterns of 64 steps"), std::string::npos);
  const std::vector<std::string> common{"--wide", "--target",  "class", "--model",  "xrdnet", "--epochs",
                                        "2",      "--threads", "1",     "--device", "cpu"};
  const auto with = [&](std::vector<std::string> head) {
    head.insert(head.end(), common.begin(), common.end());
    return head;
  };
  const std::string said =
      done(with({"train", "--data", "patterns.csv", "--extra-training", "powder:count=30,steps=64,seed=2", "--out", "a"}));
  EXPECT_NE(said.find("extra training: 30 items of powder:count=30"), std::string::npos) << said;
  EXPECT_NE(said.find("training on 59 items, validating on 3"), std::string::npos) << said;
  EXPECT_EQ(Json::parse(done({"evaluate", "--run", "a", "--json"}))["items"], 8);
  done({"train", "--data", "powder:count=30,steps=64", "--model", "xrdnet", "--epochs", "1", "--threads", "1", "--device", "cpu", "--out",
        "c"});
  EXPECT_EQ(Json::parse(done({"evaluate", "--run", "c", "--json"}))["items"], 6);
  EXPECT_EQ(Json::parse(done({"predict", "--run", "c", "patterns.csv", "--json"})).size(), 40u);
  refused(with({"train", "--data", "patterns.csv", "--extra-training", "powder:count=30", "--out", "b"}), 2,
          {"extra training", "[320, 1]"});
  refused(with({"train", "--data", "patterns.csv", "--extra-training", "none.csv", "--out", "b"}), 2, {"none.csv"});
  refused({"train", "--resume", "a", "--extra-training", "powder:count=30,steps=64,seed=3", "--epochs", "3"}, 2, {"extra-training"});
  refused({"simulate", "powder:count=40", "--out", "patterns.csv"}, 2, {"exists"});
  refused({"simulate", "powder:count=40", "--out", "folder"}, 2, {".csv"});
  refused({"simulate", "powder:count=40", "--format", "png", "--out", "x.csv"}, 2, {"--format"});
  refused({"simulate", "powders:count=40", "--out", "x.csv"}, 2, {"powders"});
}

TEST_F(Sequences, TrainEvaluatePredict) {
  const std::string said = done(train("run", {"--epochs", "60", "--lr", "0.01"}));
  EXPECT_NE(said.find("windows of 5 steps"), std::string::npos) << said;
  const Json scores = Json::parse(done({"evaluate", "--run", "run", "--json"}));
  EXPECT_EQ(scores["items"], 6);
  EXPECT_LT(scores["rmse"].get<double>(), 1.0) << "the remaining life can be read off the sensor";
  const Json uncapped = Json::parse(done({"evaluate", "--run", "run", "--target-cap", "0", "--json"}));
  EXPECT_EQ(uncapped["rmse"], scores["rmse"]) << "no life exceeds the cap here";
  const Json capped = Json::parse(done({"evaluate", "--run", "run", "--target-cap", "1", "--json"}));
  EXPECT_GT(capped["rmse"].get<double>(), 2.0);

  put(in("new.txt"), "7 1 9\n7 2 8\n7 3 7\n7 4 6\n7 5 5\n7 6 4\n7 7 3\n");
  const Json last = Json::parse(done({"predict", "--run", "run", "new.txt", "--json"}));
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0]["item"], "unit 7");
  EXPECT_NEAR(last[0]["values"]["remaining_life"].get<double>(), 3, 1.5);
  const Json all = Json::parse(done({"predict", "--run", "run", "new.txt", "--every", "1", "--json"}));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["item"], "unit 7 to cycle 5");
  EXPECT_EQ(all[2], last[0]);
  put(in("short.txt"), "7 1 9\n7 2 8\n");
  refused({"predict", "--run", "run", "short.txt"}, 2, {"short.txt", "line 1", "unit 7", "2 rows", "window of 5"});
  put(in("bad.txt"), "7 1 9\n7 2 8\n7 3 x\n7 4 1\n7 5 1\n");
  refused({"predict", "--run", "run", "bad.txt"}, 1, {"bad.txt", "line 3", "'sensor'", "'x'"});
}

TEST_F(Sequences, ShortUnitsWherePadded) {
  done(train("run", {"--epochs", "1", "--pad"}));
  put(in("short.txt"), "7 1 9\n7 2 8\n");
  const Json one = Json::parse(done({"predict", "--run", "run", "short.txt", "--json"}));
  ASSERT_EQ(one.size(), 1u);
  EXPECT_TRUE(std::isfinite(one[0]["values"]["remaining_life"].get<double>()));
}

TEST_F(Sequences, WideTablesWithASplitColumn) {
  std::ostringstream rows;
  rows << "name,part,kind,s0,s1,s2,s3,s4,s5\n";
  for (int i = 0; i < 40; ++i) {
    rows << 'n' << i << ',' << (i % 5 == 4 ? "test" : "train") << ',' << (i % 2 ? "rise" : "fall");
    for (int t = 0; t < 6; ++t) rows << ',' << (i % 2 ? t : 5 - t) + 0.1 * ((i * 3 + t) % 7);
    rows << '\n';
  }
  put(in("w.csv"), rows.str());
  done({"train",    "--data", "w.csv",    "--wide", "--split-column", "part", "--target", "kind", "--model", "gru",
        "--hidden", "8",      "--epochs", "15",     "--threads",      "1",    "--device", "cpu",  "--out",   "run"});
  EXPECT_EQ(Json::parse(done({"evaluate", "--run", "run", "--json"}))["accuracy"], 1.0);
  put(in("new.csv"), "s5,s4,s3,s2,s1,s0\n5,4,3,2,1,0\n0,1,2,3,4,5\n");
  const Json found = Json::parse(done({"predict", "--run", "run", "new.csv", "--json"}));
  EXPECT_EQ(found[0]["class"], "rise") << "columns go by their names";
  EXPECT_EQ(found[1]["class"], "fall");
}

TEST_F(Sequences, WholeRunsThatAreShorterInValidationAlone) {
  std::ostringstream rows;
  rows << "run,part,x,y\n";
  for (int run = 0; run < 12; ++run)
    for (int t = 0; t < (run < 8 ? 6 : 4); ++t)
      rows << run << ',' << (run < 8 ? "train" : run < 10 ? "validation" : "test") << ',' << run % 3 + t << ',' << run % 3 << '\n';
  put(in("runs.csv"), rows.str());
  done({"train", "--data", "runs.csv", "--sequence", "run", "--split-column", "part", "--target", "y", "--hidden", "4", "--epochs", "1",
        "--threads", "1", "--device", "cpu", "--out", "run"});
  EXPECT_EQ(Json::parse(done({"evaluate", "--run", "run", "--json"}))["items"], 2);
  for (const char* cap : {"nan", "-1"}) refused({"evaluate", "--run", "run", "--target-cap", cap}, 2, {"--target-cap", cap});
}

TEST_F(Sequences, BadTablesGetOneLine) {
  const auto data = [&](const std::string& rows) { put(in("fleet/train_1.txt"), wear(12, 0) + rows); };
  data("13 1\n");
  refused(train("run"), 1, {"train_1.txt", "line 223", "2 cells"});
  data("13 1 hot\n");
  refused(train("run"), 1, {"train_1.txt", "line 223", "'sensor'", "'hot'"});
  data("13 1 nan\n");
  refused(train("run"), 1, {"train_1.txt", "line 223", "'sensor'", "finite"});
  data("13 1 1\n");
  refused(train("run"), 2, {"train_1.txt", "line 223", "unit 13", "1 rows", "window of 5"});
  data("1 1 1\n");
  refused(train("run"), 1, {"train_1.txt", "line 223", "'cycle'", "line 1"});
  refused({"train", "--data", "fleet", "--columns", "unit,cycle,sensor", "--window", "5", "--target", "sensor"}, 2,
          {"--window", "--sequence"});
  put(in("x.npz"), "PK but no archive");
  refused({"train", "--data", "x.npz"}, 1, {"x.npz", "truncated"});
  EXPECT_FALSE(fs::exists(in("run")));
}

TEST_F(Sequences, TheEngineExampleRuns) {
  const char* data = std::getenv("EPITAXY_TEST_DATA");
  if (!data || !*data) GTEST_SKIP() << "skipped: EPITAXY_TEST_DATA is not set";
  if (!EPITAXY_HAS_ZLIB) GTEST_SKIP() << "this build has no zlib";
  const fs::path examples = fs::path(EPITAXY_FIXTURES).parent_path().parent_path().parent_path() / "examples";
  const std::string said = done({"train", "--config", (examples / "cmapss.yaml").string(), "--data", std::string(data) + "/cmapss_fd001",
                                 "--stride", "20", "--threads", "1", "--device", "cpu", "--out", "run"});
  EXPECT_NE(said.find("sequences: 100 of 128..362 steps"), std::string::npos) << said;
  const Json scores = Json::parse(done({"evaluate", "--run", "run", "--json"}));
  EXPECT_EQ(scores["items"], 100);
  EXPECT_EQ(scores["duplicates"], 0);
  EXPECT_LT(scores["rmse"].get<double>(), 30.0) << "a constant guess has 40";
}

}  // namespace
}  // namespace epitaxy::test
