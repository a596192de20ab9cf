// Bad input: one clear line and the right exit code, and nothing left behind.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace epitaxy::test {
namespace {

using Refusals = Program;

TEST_F(Refusals, CommandLines) {
  refused({}, 2, {"subcommand"});
  refused({"trian"}, 2, {});
  refused({"train", "--epoch", "3"}, 2, {"--epoch"});
  refused({"train", "--epochs", "many", "--data", "x"}, 2, {"--epochs", "'many'"});
  refused({"train", "--lr", "-1", "--data", "x"}, 2, {"--lr"});
  refused({"train"}, 2, {"--data"});
  refused({"evaluate"}, 2, {"--run"});
  refused({"plan"}, 2, {"--input"});
  refused({"plan", "--input", "64xx1", "--classes", "2"}, 2, {"--input"});
  refused({"train", "--data", "lattice:count=60,size=40", "--model", "alexnet"}, 2, {"alexnet", "crystalnet"});
  refused({"train", "--data", "lattice:count=60,size=40", "--model", "unet"}, 2, {"unet", "every pixel"});
  refused({"plan", "--model", "vgg", "--input", "20x20x1", "--classes", "4"}, 2, {"vgg", "32 x 32", "enlarge"});
  refused({"train", "--data", "lattice:count=60,size=40", "--device", "abacus"}, 2, {"abacus"});
  refused({"train", "--data", "lattice:count=60,size=40", "--class-weights", "1,2"}, 2, {"2 numbers", "5 classes"});
  refused({"train", "--data", "lattice:count=60,size=40", "--loss", "huber"}, 2, {"huber", "classification"});
  refused({"train", "--data", "lattice:colour=red"}, 2, {"colour"});
  refused({"train", "--data", "lattice:count=60,size=40", "--task", "regression", "--flip", "both"}, 2, {"target"});
  EXPECT_FALSE(fs::exists(in("runs")));
  done(small_run("run", {"--task", "regression", "--flip", "both", "--targets-invariant", "--model", "mlp"}));
}

TEST_F(Refusals, ExperimentFiles) {
  refused({"train", "--config", "missing.yaml"}, 2, {"missing.yaml", "does not exist"});
  put(in("bad.yaml"), "data: lattice:count=60\nepoch: 3\n");
  refused({"train", "--config", "bad.yaml"}, 2, {"bad.yaml", "line 2", "'epoch'", "'epochs'"});
  put(in("broken.yaml"), "data: [a\n");
  refused({"train", "--config", "broken.yaml"}, 2, {"broken.yaml", "line"});
}

TEST_F(Refusals, MissingAndEmptyData) {
  refused({"train", "--data", "nowhere", "--out", "run"}, 2, {"'nowhere'", "does not exist"});
  fs::create_directories(in("empty"));
  refused({"train", "--data", "empty", "--out", "run"}, 2, {"'empty'"});
  fs::create_directories(in("classes/a"));
  fs::create_directories(in("classes/b"));
  refused({"train", "--data", "classes", "--out", "run"}, 2, {"classes"});
  EXPECT_FALSE(fs::exists(in("run")));
}

TEST_F(Refusals, TruncatedIdx) {
  done({"simulate", "lattice:count=50,size=40", "--out", "idx"});
  for (const auto& entry : fs::directory_iterator(in("idx")))
    if (entry.path().filename().string().find("train-images") == 0) fs::resize_file(entry.path(), fs::file_size(entry.path()) - 100);
  refused({"train", "--data", "idx", "--out", "run"}, 1, {"train-images"});
  EXPECT_FALSE(fs::exists(in("run")));
}

TEST_F(Refusals, TruncatedPngAndMixedSizes) {
  if (!EPITAXY_HAS_PNG) GTEST_SKIP() << "this build has no PNG";
  done({"simulate", "lattice:count=30,size=40", "--format", "png", "--out", "images"});
  done({"simulate", "lattice:count=30,size=48", "--format", "png", "--out", "large"});
  fs::path victim;
  for (const auto& entry : fs::directory_iterator(in("images/train/square"))) victim = entry.path();
  const std::string good = contents(victim);
  put(victim, good.substr(0, good.size() / 2));
  refused({"train", "--data", "images", "--out", "run"}, 1, {victim.filename().string()});
  fs::copy_file(*fs::directory_iterator(in("large/train/square")), victim, fs::copy_options::overwrite_existing);
  refused({"train", "--data", "images", "--out", "run"}, 2, {victim.filename().string()});
  EXPECT_FALSE(fs::exists(in("run")));
}

TEST_F(Refusals, BrokenTables) {
  put(in("t.csv"), "x,y\n1.5,2\n2,nan\n3,4\n4,5\n5,6\n6,7\n");
  refused({"train", "--data", "t.csv", "--target", "y", "--out", "run"}, 1, {"t.csv", "line 3", "'y'"});
  refused({"train", "--data", "t.csv", "--target", "z", "--out", "run"}, 2, {"'z'"});
  refused({"train", "--data", "t.csv", "--out", "run"}, 2, {"--target"});
  put(in("ragged.csv"), "x,y\n1,2\n2\n");
  refused({"train", "--data", "ragged.csv", "--target", "y", "--out", "run"}, 1, {"ragged.csv", "line 3"});
}

TEST_F(Refusals, TooLittleMemoryIsForetold) {
  refused(small_run("run", {"--memory-limit", "1M"}), 1, {"needs", "1.00 MiB", "--memory-limit"});
  refused(
      {"train", "--data", "lattice:count=2000,size=40", "--batch", "1000", "--model", "resnet18", "--memory-limit", "500M", "--out", "run"},
      1, {"batch 1000 needs", "--batch ", " fits"});
  EXPECT_FALSE(fs::exists(in("run")));
}

TEST_F(Refusals, ASmallAddressSpaceIsAnErrorAndNoCrash) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers reserve the address space";
#endif
  for (int kib = 50000; kib <= 300000; kib += 25000) {
    const int code = shell("train --data lattice:count=600,size=64 --epochs 1 --batch 512 --threads 1 --device cpu --out run > /dev/null",
                           "ulimit -v " + std::to_string(kib));
    EXPECT_TRUE(code == 1 || code == 127) << kib << " KiB: " << code;  // 127: too little to load the program
    EXPECT_FALSE(fs::exists(in("run")));
  }
}

TEST_F(Refusals, AnExistingRunIsNeverOverwritten) {
  done(small_run("run"));
  const std::string before = contents(in("run/weights.safetensors"));
  refused(small_run("run"), 2, {"'run' exists", "--out"});
  put(in("file"), "mine");
  refused(small_run("file"), 2, {"'file' exists"});
  EXPECT_EQ(contents(in("run/weights.safetensors")), before);
  EXPECT_EQ(contents(in("file")), "mine");
}

TEST_F(Refusals, ADivergedLossStops) {
  // In the first epoch: nothing is left behind.
  const std::vector<std::string> wild{"--model", "mlp", "--optimizer", "sgd", "--lr", "1e6", "--schedule", "constant"};
  auto first = wild;
  first.insert(first.end(), {"--batch", "4"});
  refused(small_run("run", first), 1, {"loss became", "epoch 1", "--lr"});
  EXPECT_FALSE(fs::exists(in("run")));
  // In a later one: the best before it stays.
  auto later = wild;
  later[5] = "1";
  later.insert(later.end(), {"--batch", "64", "--epochs", "200", "--momentum", "0.99"});
  refused(small_run("run", later), 1, {"loss became", "is kept in run"});
  EXPECT_TRUE(fs::exists(in("run/weights.safetensors")));
  done({"evaluate", "--run", "run", "--threads", "1"});
}

TEST_F(Refusals, DamagedRuns) {
  done(small_run("run", {"--model", "mlp"}));
  refused({"evaluate", "--run", "nowhere"}, 2, {"nowhere"});
  const auto damaged = [&](const std::string& file, const std::string& now, const std::string& says) {
    const std::string before = contents(in("run/" + file));
    put(in("run/" + file), now);
    refused({"evaluate", "--run", "run"}, 1, {file, says});
    put(in("run/" + file), before);
  };
  const std::string weights = contents(in("run/weights.safetensors"));
  damaged("weights.safetensors", weights.substr(0, weights.size() - 4), "damaged");
  damaged("weights.safetensors", weights.substr(0, 5), "no safetensors file");
  std::string renamed = weights;
  renamed.replace(renamed.find("dense1.bias"), 11, "dense9.bias");
  damaged("weights.safetensors", renamed, "checksum");
  renamed.replace(renamed.find("\"checksum\""), 10, "\"unknown1\"");  // a file of another program
  damaged("weights.safetensors", renamed, "dense");
  std::string header = weights;
  std::string flipped = weights;
  flipped[flipped.size() - 1000] = static_cast<char>(flipped[flipped.size() - 1000] ^ 4);
  damaged("weights.safetensors", flipped, "checksum");
  header[0] = '\x7f', header[3] = '\x7f';
  damaged("weights.safetensors", header, "header claims");
  const std::string model = contents(in("run/model.json"));
  damaged("model.json", model.substr(0, model.size() / 2), "damaged");
  std::string classes = model;
  classes.replace(classes.find("\"oblique\","), 10, "");
  damaged("model.json", classes, "5 outputs but 4 names");
  done({"evaluate", "--run", "run", "--threads", "1"});
  fs::remove(in("run/weights.safetensors"));
  refused({"predict", "--run", "run", "x.png"}, 2, {"weights.safetensors is missing"});
}

TEST_F(Refusals, DataUnlikeTraining) {
  if (!EPITAXY_HAS_PNG) GTEST_SKIP() << "this build has no PNG";
  done({"simulate", "lattice:count=30,size=40", "--format", "png", "--out", "images"});
  done({"simulate", "lattice:count=30,size=40,depth=16", "--format", "png", "--out", "deep"});
  done({"simulate", "lattice:count=30,size=48", "--format", "png", "--out", "large"});
  done({"train", "--data", "images", "--epochs", "1", "--threads", "1", "--device", "cpu", "--model", "mlp", "--out", "run"});
  const auto first = [&](const std::string& folder) { return fs::directory_iterator(in(folder + "/test/square"))->path().string(); };
  done({"predict", "--run", "run", first("images")});
  refused({"predict", "--run", "run", first("deep")}, 2, {"uint16", "uint8", "bit depth"});
  refused({"predict", "--run", "run", first("large")}, 2, {"[48, 48, 1]", "[40, 40, 1]"});
  refused({"predict", "--run", "run", first("images"), first("large")}, 2, {"48"});
  refused({"predict", "--run", "run", "missing.png"}, 2, {"missing.png"});
  refused({"evaluate", "--run", "run", "--data", "large"}, 2, {"[48, 48, 1]"});
  // A class that the network does not know.
  fs::rename(in("images/test/square"), in("images/test/kagome"));
  refused({"evaluate", "--run", "run", "--data", "images"}, 2, {"kagome"});
}

TEST_F(Refusals, OutputThatCannotBeWritten) {
  done(small_run("run", {"--model", "mlp"}));
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full";
  for (const std::string command : {"evaluate --run run --json", "plan --input 28x28 --classes 3", "info", "--help"})
    EXPECT_EQ(shell(command + " > /dev/full"), 1) << command;
  EXPECT_EQ(shell("train --data lattice:count=60,size=40 --epochs 1 --model mlp --threads 1 --device cpu --out b > /dev/full"), 0);
  EXPECT_TRUE(fs::exists(in("b/metrics.json")));  // what counts are the files
  EXPECT_EQ(shell("train --data lattice:count=60,size=40 --epochs 1 --model mlp --threads 1 --device cpu --out c", "ulimit -f 100"), 1);
  EXPECT_FALSE(fs::exists(in("c")));
}

TEST_F(Refusals, TargetsThatTheLossDoesNotTake) {
  std::string csv = "x,y\n";
  for (int i = 0; i < 30; ++i) csv += std::to_string(i * 7 % 30) + "," + std::to_string(i % 3) + "\n";
  put(in("t.csv"), csv);
  refused({"train", "--data", "t.csv", "--target", "y", "--loss", "binary_cross_entropy", "--out", "run"}, 2, {"target of 2", "0..1"});
}

}  // namespace
}  // namespace epitaxy::test
