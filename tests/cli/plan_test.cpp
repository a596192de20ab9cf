// epitaxy plan: what is fused, and what is computed again where memory is short.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace epitaxy::test {
namespace {

using Json = nlohmann::json;

class Planning : public Program {
 protected:
  std::vector<std::string> crystalnet(std::vector<std::string> more) const {
    std::vector<std::string> all{"plan", "--model", "crystalnet", "--input", "64x64", "--classes", "5", "--batch", "16", "--device", "cpu"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_F(Planning, ListsFusions) {
  const std::string table = done(crystalnet({"--fusions"}));
  for (const char* part : {"bn+relu", "stage1.bn", "stage1.relu", "traffic of a training step: "})
    EXPECT_NE(table.find(part), std::string::npos) << part;
  const Json fused = Json::parse(done(crystalnet({"--fusions", "--json"})));
  ASSERT_FALSE(fused["fusions"].empty());
  EXPECT_LT(fused["step_bytes"]["fused"], fused["step_bytes"]["unfused"]);
  double saved = 0;
  for (const auto& one : fused["fusions"]) saved += one["bytes_saved"].get<double>();
  EXPECT_GT(saved, 0);
  const Json plain = Json::parse(done(crystalnet({"--fusions", "--fusion", "off", "--json"})));
  EXPECT_TRUE(plain["fusions"].empty());
  EXPECT_GT(plain["memory"]["arena"], fused["memory"]["arena"]);
  refused(crystalnet({"--fusion", "everything"}), 2, {"everything", "bn+relu"});
}

TEST_F(Planning, SequencesHaveStepsAndFeatures) {
  const std::vector<std::string> lstm{"plan", "--model", "lstm",      "--input",         "30x14",    "--classes", "1",     "--hidden",
                                      "8,8",  "--pool",  "attention", "--bidirectional", "--device", "cpu",       "--json"};
  const Json planned = Json::parse(done(lstm));
  EXPECT_EQ(planned["layers"][0]["details"], "2 layers of 8 in both directions");
  EXPECT_EQ(planned["layers"][0]["output"], Json({32, 16}));
  // Two directions of 4 gates by 8 units in two layers, attention over 16 features in 8 units, and the dense layer.
  EXPECT_EQ(planned["parameters"], 2 * 32 * (14 + 8 + 2) + 2 * 32 * (16 + 8 + 2) + (8 * 16 + 8 + 8) + 17);
  const std::string table = done({"plan", "--model", "xrdnet", "--input", "320x1", "--classes", "2", "--device", "cpu"});
  for (const char* part : {"stage1.conv", "conv1d", "max_pool1d", "in stage1.bn"}) EXPECT_NE(table.find(part), std::string::npos) << part;
  refused({"plan", "--model", "lstm", "--input", "30x14x1x1", "--classes", "1"}, 2, {"TxF (30x14)"});
  refused({"plan", "--model", "lstm", "--input", "30", "--classes", "1"}, 2, {"lstm: takes sequences [T, F]"});
  refused({"plan", "--model", "lstm", "--input", "30x14", "--classes", "1", "--pool", "first"}, 2, {"--pool", "attention"});
}

TEST_F(Planning, FitsALimitOrSaysWhatWould) {
  const Json free = Json::parse(done(crystalnet({"--json"})));
  const auto need = free["memory"]["total"].get<std::int64_t>() + free["memory"]["fixed_overhead"].get<std::int64_t>();
  const std::string limit = std::to_string(need * 9 / 10);
  const Json less = Json::parse(done(crystalnet({"--json", "--memory-limit", limit})));
  EXPECT_FALSE(less["recompute"]["nodes"].empty());
  EXPECT_LE(less["memory"]["total"].get<std::int64_t>() + less["memory"]["fixed_overhead"].get<std::int64_t>(), need * 9 / 10);
  EXPECT_NE(done(crystalnet({"--memory-limit", limit})).find("computed again in the backward pass"), std::string::npos);
  refused(crystalnet({"--memory-limit", std::to_string(need * 6 / 10)}), 1, {"batch 16 needs", "--batch ", " fits", "--memory-limit "});
}

TEST_F(Planning, TrainingInLessMemoryKeepsTheBits) {
  const Json free = Json::parse(
      done({"plan", "--model", "crystalnet", "--input", "40x40", "--classes", "5", "--batch", "32", "--device", "cpu", "--json"}));
  const auto need = free["memory"]["total"].get<std::int64_t>() + free["memory"]["fixed_overhead"].get<std::int64_t>();
  done(small_run("all"));
  const Finished less = run(small_run("less", {"--memory-limit", std::to_string(need * 9 / 10)}));
  ASSERT_EQ(less.code, 0) << less.err;
  EXPECT_NE((less.out + less.err).find("run again in the backward pass"), std::string::npos) << less.out << less.err;
  EXPECT_EQ(contents(in("all/weights.safetensors")), contents(in("less/weights.safetensors")));
  done(small_run("unfused", {"--fusion", "off"}));
  EXPECT_EQ(contents(in("all/weights.safetensors")), contents(in("unfused/weights.safetensors")));
}

}  // namespace
}  // namespace epitaxy::test
