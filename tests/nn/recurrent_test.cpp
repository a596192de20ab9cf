// Recurrent layers and models: shapes, names, counts, initial values, the graph they become.
#include <gtest/gtest.h>

#include <cmath>

#include "epitaxy/nn/model.h"

namespace epitaxy {
namespace {

using layers::Rnn;
using layers::SequencePool;

std::vector<std::string> nodes_of(const Model& model, bool training, Precision precision = Precision::fp32) {
  std::vector<std::string> names;
  const BuiltModel built = build(model, {.batch = 3, .precision = precision, .training = training, .normalise = false});
  for (const Node& node : built.graph.nodes()) names.push_back(node.operation->name());
  return names;
}

TEST(Recurrent, ShapesAndNames) {
  const auto shape = [](const Rnn& layer) { return sequential({20, 5}, {layer}).output_shape(); };
  EXPECT_EQ(shape({.hidden = 7}), (Shape{20, 7}));
  EXPECT_EQ(shape({.hidden = 7, .bidirectional = true, .projection = 3}), (Shape{20, 6}));
  EXPECT_EQ(shape({.mode = RnnMode::gru, .hidden = 7, .pool = SequencePool::last}), Shape{7});
  EXPECT_EQ(shape({.mode = RnnMode::rnn_relu, .hidden = 7, .bidirectional = true, .pool = SequencePool::mean}), Shape{14});
  const Model model = sequential({20, 5}, {Rnn{.hidden = 7, .layers = 2}, Rnn{.mode = RnnMode::gru, .hidden = 3, .bias = false}});
  EXPECT_EQ(model.entries()[1].name, "gru1");
  const auto parameters = model.parameters();
  ASSERT_EQ(parameters.size(), 10u);
  EXPECT_EQ(parameters[0].name, "lstm1.weight_ih_l0");
  EXPECT_EQ(parameters[5].name, "lstm1.weight_hh_l1");
  EXPECT_EQ(parameters[9].name, "gru1.weight_hh_l0");
  EXPECT_EQ(parameters[9].shape, (Shape{9, 3}));
  EXPECT_TRUE(parameters[0].decays());
  EXPECT_FALSE(parameters[2].decays());
}

/// As PyTorch counts LSTM(8, 128, 2) and Linear(128, 1): gates by rows of inputs, states and two biases.

TEST(Recurrent, ModelsHaveTheSizeOfTheirTwins) {
  const std::pair<const char*, std::int64_t> twins[] = {{"lstm", 4}, {"gru", 3}, {"rnn", 1}};
  for (const auto& [name, gates] : twins) {
    const Model model = make_model(name, {128, 8}, 1, {.hidden = {128, 128}});
    EXPECT_EQ(model.parameter_count(), gates * 128 * (8 + 128 + 2) + gates * 128 * (128 + 128 + 2) + 129) << name;
    EXPECT_EQ(model.output_shape(), Shape{1});
    EXPECT_EQ(model.entries().size(), 2u) << "equal layers are one operation";
    EXPECT_EQ(make_model(name, {128, 8}, 1, {.hidden = {32, 16}}).entries().size(), 3u);
  }
  EXPECT_EQ(recurrent(RnnMode::lstm, {9, 2}, 3, {.hidden = {4, 8}, .bidirectional = true, .dropout = 0.5f}).parameters()[8].shape,
            (Shape{32, 8}));
}

TEST(Recurrent, DropoutCutsLayersApartInTraining) {
  const Model model = sequential({6, 5}, {Rnn{.hidden = 7, .layers = 3, .dropout = 0.5f, .pool = SequencePool::last}, layers::Dense{1}});
  const std::vector<std::string> training{"lstm", "dropout", "lstm", "dropout", "lstm", "last_state", "dense"};
  const std::vector<std::string> evaluation{"lstm", "last_state", "dense"};
  EXPECT_EQ(nodes_of(model, true), training);
  EXPECT_EQ(nodes_of(model, false), evaluation);
  const Model mean = sequential({6, 5}, {Rnn{.mode = RnnMode::gru, .hidden = 7, .layers = 2, .pool = SequencePool::mean}});
  const std::vector<std::string> pooled{"gru", "reshape", "global_average_pool"};
  EXPECT_EQ(nodes_of(mean, true), pooled);
  EXPECT_EQ(nodes_of(mean, true, Precision::bf16), (std::vector<std::string>{"cast", "gru", "reshape", "global_average_pool"}));
}

TEST(Recurrent, InitialValuesLieWithinTheBound) {
  const Model model = sequential({6, 5}, {Rnn{.hidden = 25, .layers = 2}});
  for (const Tensor& value : initial_values(model, 3)) {
    double largest = 0, sum = 0;
    for (const float v : value.span<float>()) largest = std::fmax(largest, std::fabs(v)), sum += v;
    EXPECT_LE(largest, 0.2);
    EXPECT_GT(largest, 0.18);
    EXPECT_NE(sum, 0);
  }
}

TEST(Recurrent, JsonKeepsEveryOption) {
  const Model model =
      sequential({20, 5}, {Rnn{.mode = RnnMode::rnn_relu, .hidden = 6, .layers = 2, .bidirectional = true, .bias = false, .dropout = 0.25f},
                           Rnn{.hidden = 7, .projection = 3, .pool = SequencePool::mean}});
  const Model back = Model::from_json(model.to_json());
  EXPECT_EQ(back.to_json(), model.to_json());
  const auto& first = std::get<Rnn>(back.entries()[0].layer);
  EXPECT_EQ(first.mode, RnnMode::rnn_relu);
  EXPECT_EQ(first.layers, 2);
  EXPECT_TRUE(first.bidirectional && !first.bias);
  EXPECT_EQ(first.dropout, 0.25f);
  EXPECT_EQ(std::get<Rnn>(back.entries()[1].layer).projection, 3);
  EXPECT_EQ(std::get<Rnn>(back.entries()[1].layer).pool, SequencePool::mean);
}

TEST(Recurrent, Rejects) {
  const auto with = [](const Rnn& layer, Shape input = {20, 5}) { return sequential(input, {layer}); };
  EXPECT_THROW(with({}, {20, 5, 1}), Error);
  EXPECT_THROW(with({}, {20}), Error);
  EXPECT_THROW(with({.hidden = 0}), Error);
  EXPECT_THROW(with({.mode = RnnMode::gru, .projection = 3}), Error);
  EXPECT_THROW(with({.dropout = 1}), Error);
  EXPECT_THROW(recurrent(RnnMode::gru, {20, 5}, 1, {.hidden = {}}), Error);
  EXPECT_THROW(recurrent(RnnMode::gru, {20, 5}, 1, {.pool = SequencePool::none}), Error);
  try {
    make_model("lstm", {28, 28, 1}, 2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "lstm: takes sequences [T, F], not [28, 28, 1]");
  }
}

}  // namespace
}  // namespace epitaxy
