// Training, evaluating and predicting with the real program, end to end on tiny data.
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "tests/cli/program.h"

namespace epitaxy::test {
namespace {

using Json = nlohmann::json;

/// Long training, running and past its first epoch.
class Runs : public Program {
 protected:
  pid_t start_long(const std::string& out) const {
    fs::remove(in("stdout"));
    const pid_t child = start(small_run(out, {"--epochs", "100000", "--model", "mlp", "--hidden", "8"}));
    for (int i = 0; i < 3000 && contents(in("stdout")).find("epoch 2/") == std::string::npos; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return child;
  }
};

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

TEST_F(Runs, TrainEvaluatePredict) {
  if (!EPITAXY_HAS_PNG) GTEST_SKIP() << "this build has no PNG";
  done({"simulate", "lattice:count=100,size=40", "--format", "png", "--out", "images"});
  const std::string said = done({"train", "--data", "images", "--epochs", "2", "--batch", "16", "--out", "run", "--threads", "1", "--flip",
                                 "both", "--rotate", "--class-weights", "balanced", "--device", "cpu"});
  EXPECT_NE(said.find("epoch 2/2"), std::string::npos) << said;
  EXPECT_NE(said.find("validation part: "), std::string::npos) << said;
  EXPECT_EQ(said.find('\r'), std::string::npos);  // no bar where nobody watches
  EXPECT_EQ(names_in(in("run")), (std::set<std::string>{"checkpoint.safetensors", "config.yaml", "metrics.csv", "metrics.json",
                                                        "model.json", "weights.safetensors"}));

  const Json metrics = Json::parse(contents(in("run/metrics.json")));
  EXPECT_EQ(metrics["epochs"], 2);
  EXPECT_EQ(metrics["seed"], 1);
  EXPECT_EQ(metrics["device"], "cpu");
  EXPECT_EQ(metrics["training"]["items"], 72);  // 100 - 20 test - 8 validation
  EXPECT_EQ(metrics["validation"]["items"], 8);
  const std::string csv = contents(in("run/metrics.csv"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);

  const Json result = Json::parse(done({"evaluate", "--run", "run", "--data", "images", "--split", "test", "--json", "--threads", "1"}));
  EXPECT_EQ(result["items"], 20);
  EXPECT_EQ(result["duplicates"], 0);
  EXPECT_TRUE(result["loss"].get<double>() > 0);
  ASSERT_EQ(result["confusion"].size(), 5u);
  int right = 0, all = 0;
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t j = 0; j < 5; ++j) {
      all += result["confusion"][i][j].get<int>();
      if (i == j) right += result["confusion"][i][j].get<int>();
    }
  EXPECT_EQ(all, 20);
  EXPECT_DOUBLE_EQ(result["accuracy"].get<double>(), right / 20.0);
  EXPECT_LE(result["accuracy_interval"][0].get<double>(), right / 20.0);
  EXPECT_GE(result["accuracy_interval"][1].get<double>(), right / 20.0);
  EXPECT_TRUE(result.contains("balanced_accuracy_interval"));

  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(in("images/test")))
    if (entry.is_regular_file()) files.push_back(entry.path().string());
  std::vector<std::string> arguments{"predict", "--run", "run", "--threads", "1", "--json"};
  arguments.insert(arguments.end(), files.begin(), files.end());
  const Json predictions = Json::parse(done(arguments));
  ASSERT_EQ(predictions.size(), 20u);
  int agree = 0;
  for (const auto& one : predictions) {
    double sum = 0, most = -1;
    std::string best;
    for (const auto& [name, p] : one["probabilities"].items()) {
      sum += p.get<double>();
      if (p.get<double>() > most) most = p.get<double>(), best = name;
    }
    EXPECT_NEAR(sum, 1, 1e-5);
    EXPECT_EQ(one["class"], best);
    agree += one["item"].get<std::string>().find("/" + best + "/") != std::string::npos;
  }
  EXPECT_EQ(agree, right);  // predict and evaluate agree
  const std::string table = done({"predict", "--run", "run", "--threads", "1", "--csv", files[0]});
  EXPECT_EQ(table.substr(0, table.find('\n')), "item,class,centred_rectangular,hexagonal,oblique,rectangular,square");
  EXPECT_NE(done({"predict", "--run", "run", "--threads", "1", files[0]}).find("hexagonal"), std::string::npos);
}

TEST_F(Runs, OneSeedGivesOneResultBitForBit) {
  done(small_run("a"));
  done(small_run("b"));
  done(small_run("c", {"--seed", "2"}));
  EXPECT_EQ(contents(in("a/weights.safetensors")), contents(in("b/weights.safetensors")));
  EXPECT_NE(contents(in("a/weights.safetensors")), contents(in("c/weights.safetensors")));
  EXPECT_EQ(contents(in("a/config.yaml")), contents(in("b/config.yaml")));
  // The run's own config.yaml gives the same run again; a flag goes before it.
  done({"train", "--config", "a/config.yaml", "--out", "d"});
  done({"train", "--config", "a/config.yaml", "--seed", "2", "--out", "e"});
  EXPECT_EQ(contents(in("a/weights.safetensors")), contents(in("d/weights.safetensors")));
  EXPECT_EQ(contents(in("c/weights.safetensors")), contents(in("e/weights.safetensors")));
}

TEST_F(Runs, ARunWithoutANameGetsTheNextNumber) {
  auto arguments = small_run("x");
  arguments.resize(arguments.size() - 2);  // without --out
  done(arguments);
  done(arguments);
  EXPECT_EQ(names_in(in("runs")), (std::set<std::string>{"1", "2"}));
}

TEST_F(Runs, TablesGiveValuesInTheUsersUnits) {
  std::string csv = "id,x,y,strength\n";  // strength = 1000 + 200 x - 100 y
  for (int i = 0; i < 150; ++i) {
    const double x = (i * 7 % 20) / 10.0 - 1, y = (i * 13 % 30) / 15.0 - 1;
    csv += std::to_string(i) + "," + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(1000 + 200 * x - 100 * y) + "\n";
  }
  put(in("t.csv"), csv);
  const std::string said = done({"train", "--data", "t.csv", "--target", "strength", "--epochs", "60", "--batch", "16", "--lr", "0.01",
                                 "--threads", "1", "--device", "cpu", "--out", "run"});
  EXPECT_NE(said.find("features: x, y"), std::string::npos) << said;
  const Json result = Json::parse(done({"evaluate", "--run", "run", "--json", "--threads", "1"}));
  EXPECT_LT(result["mae"].get<double>(), 20);  // always answering the mean gives about 110
  EXPECT_GE(result["rmse"].get<double>(), result["mae"].get<double>());
  EXPECT_TRUE(result.contains("mae_interval"));
  put(in("new.csv"), "y,x\n0,0\n-1,1\n");  // columns are found by name
  const Json values = Json::parse(done({"predict", "--run", "run", "new.csv", "--json", "--threads", "1"}));
  ASSERT_EQ(values.size(), 2u);
  EXPECT_NEAR(values[0]["values"]["strength"].get<double>(), 1000, 60);
  EXPECT_NEAR(values[1]["values"]["strength"].get<double>(), 1300, 100);
}

TEST_F(Runs, TwinsInTrainingAreCounted) {
  if (!EPITAXY_HAS_PNG) GTEST_SKIP() << "this build has no PNG";
  done({"simulate", "lattice:count=100,size=40", "--format", "png", "--out", "images"});
  fs::path twin;
  for (const auto& entry : fs::directory_iterator(in("images/test/square"))) twin = entry.path();
  fs::copy_file(twin, in("images/train/square/twin.png"));
  done({"train", "--data", "images", "--epochs", "1", "--threads", "1", "--device", "cpu", "--model", "mlp", "--out", "run"});
  const Json result = Json::parse(done({"evaluate", "--run", "run", "--json", "--threads", "1"}));
  EXPECT_EQ(result["duplicates"], 1);
  EXPECT_EQ(result["without_duplicates"]["items"], 19);
}

TEST_F(Runs, ASignalKeepsTheBestEpochSoFar) {
  for (const auto& [signal, out] : {std::pair{SIGINT, "int"}, std::pair{SIGTERM, "term"}, std::pair{SIGHUP, "hup"}}) {
    const pid_t child = start_long(out);
    ::kill(child, signal);
    const Finished result = finish(child);
    EXPECT_EQ(result.code, 128 + signal) << result.err;
    EXPECT_NE(result.err.find("interrupted"), std::string::npos);
    EXPECT_EQ(Json::parse(contents(in(std::string(out) + "/metrics.json")))["stopped"], "interrupted");
    done({"evaluate", "--run", out, "--threads", "1"});
  }
}

TEST_F(Runs, AnInterruptedRunGoesOn) {
  const pid_t child = start_long("run");
  ::kill(child, SIGINT);
  const Finished stopped = finish(child);
  EXPECT_NE(stopped.err.find("train --resume run"), std::string::npos) << stopped.err;
  const int before = Json::parse(contents(in("run/metrics.json")))["epochs"];
  const std::string epochs = std::to_string(before + 3);
  refused({"train", "--resume", "run", "--lr", "1"}, 2, {"--lr cannot change"});
  refused({"train", "--resume", "none"}, 2, {"none", "config.yaml"});
  done({"train", "--resume", "run", "--epochs", epochs});
  EXPECT_EQ(Json::parse(contents(in("run/metrics.json")))["epochs"], before + 3);
  refused({"train", "--resume", "run"}, 2, {"has all of its " + epochs + " epochs", "--epochs"});
}

TEST_F(Runs, AKilledRunLeavesTheBestEpochAndNoHalfFile) {
  const pid_t child = start_long("run");
  ::kill(child, SIGKILL);
  EXPECT_EQ(finish(child).code, 128 + SIGKILL);
  EXPECT_FALSE(fs::exists(in("run/metrics.json")));  // it was not finished
  const std::string csv = contents(in("run/metrics.csv"));
  EXPECT_EQ(csv.back(), '\n');
  done({"evaluate", "--run", "run", "--threads", "1"});
}

TEST_F(Runs, NobodyReadingTheProgressEndsNoTraining) {
  const std::string line = "train --data lattice:count=60,size=40 --epochs 400 --model mlp --hidden 8 --threads 1 --device cpu --out run";
  EXPECT_EQ(shell(line + " | (head -n 4; true)"), 0);
  for (int i = 0; i < 3000 && !fs::exists(in("run/metrics.json")); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(Json::parse(contents(in("run/metrics.json")))["epochs"], 400);
}

TEST_F(Runs, PathsThatAreNotUtf8) {
  if (!EPITAXY_HAS_PNG) GTEST_SKIP() << "this build has no PNG";
  done({"simulate", "lattice:count=60,size=40", "--format", "png", "--out", "bad\xff"});
  done({"train", "--data", "bad\xff", "--epochs", "1", "--threads", "1", "--device", "cpu", "--model", "mlp", "--out", "run\xff"});
  const Json result = Json::parse(done({"evaluate", "--run", "run\xff", "--json", "--threads", "1"}));
  EXPECT_EQ(result["items"], 12);
  const std::string image = fs::directory_iterator(in("bad\xff/test/square"))->path().string();
  EXPECT_EQ(Json::parse(done({"predict", "--run", "run\xff", "--json", "--threads", "1", image})).size(), 1u);
}

TEST_F(Runs, PlanNamesLayersAndMemory) {
  const Json plan =
      Json::parse(done({"plan", "--model", "mlp", "--input", "28x28x1", "--classes", "10", "--batch", "8", "--json", "--device", "cpu"}));
  EXPECT_EQ(plan["parameters"], 784 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10);
  EXPECT_GE(plan["memory"]["parameters"].get<std::int64_t>(), plan["parameters"].get<std::int64_t>() * 4);
  double flops = 0;
  for (const auto& layer : plan["layers"]) flops += layer["forward_flops"].get<double>();
  EXPECT_NEAR(flops, 2.0 * 8 * (784 * 64 + 64 * 64 + 64 * 10), 0.05 * flops);
  const std::string table = done({"plan", "--data", "lattice:count=20,size=40", "--device", "cpu"});
  for (const char* word : {"crystalnet", "parameters", "MFLOP", "memory:"}) EXPECT_NE(table.find(word), std::string::npos) << word;
}

TEST_F(Runs, InfoAndHelp) {
  EXPECT_EQ(Json::parse(done({"info", "--json"}))["devices"][0]["name"], "cpu");
  EXPECT_NE(done({"info"}).find("build"), std::string::npos);
  EXPECT_NE(done({"--version"}).find("epitaxy "), std::string::npos);
  for (const char* command : {"train", "evaluate", "predict", "plan", "simulate", "info"})
    EXPECT_NE(done({command, "--help"}).find("Examples:"), std::string::npos) << command;
}

TEST_F(Runs, TheSmallestExampleFromTheCommandLine) {
  const fs::path examples = fs::path(EPITAXY_FIXTURES).parent_path().parent_path().parent_path() / "examples";
  const std::string said = done({"train", "--config", (examples / "two_three_one.yaml").string(), "--data",
                                 (examples / "two_three_one.csv").string(), "--threads", "1", "--device", "cpu", "--out", "run"});
  const Json metrics = Json::parse(contents(in("run/metrics.json")));
  EXPECT_EQ(metrics["stopped"], "target");
  EXPECT_LE(metrics["training"]["loss"].get<double>(), 1e-6);
}

}  // namespace
}  // namespace epitaxy::test
