// Layers over sequences: shapes, parameters, the graphs they become, lengths, and models by name.
#include <gtest/gtest.h>

#include <functional>

#include "epitaxy/nn/model.h"

namespace epitaxy {
namespace {

using layers::Conv1d;
using layers::MaxPool1d;
using layers::Rnn;
using layers::SequencePool;

std::vector<std::string> nodes_of(const Model& model) {
  std::vector<std::string> names;
  const BuiltModel built = build(model, {.batch = 3, .training = false, .normalise = false});
  for (const Node& node : built.graph.nodes()) names.push_back(node.operation->name());
  EXPECT_EQ(built.graph.spec(built.output).shape, model.output_shape().prepend(3));
  return names;
}

std::string refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "accepted";
}

TEST(Sequences, ShapesAndParameters) {
  const Model model = sequential({20, 4}, {Conv1d{.channels = 6, .kernel = 4, .stride = 2, .padding = {1, 2}, .groups = 2, .bias = true},
                                           MaxPool1d{3, 2, {1, 1}}, Conv1d{.channels = 5, .dilation = 2, .bias = false}});
  EXPECT_EQ(model.shape(1), (Shape{10, 6}));  // (20 + 3 - 4) / 2 + 1
  EXPECT_EQ(model.shape(2), (Shape{5, 6}));   // (10 + 2 - 3) / 2 + 1
  EXPECT_EQ(model.output_shape(), (Shape{1, 5}));
  const auto parameters = model.parameters();
  ASSERT_EQ(parameters.size(), 3u);
  EXPECT_EQ(parameters[0].name, "conv1d1.weight");
  EXPECT_EQ(parameters[0].shape, (Shape{6, 1, 4, 2}));
  EXPECT_EQ(parameters[0].fan_in, 8);
  EXPECT_EQ(parameters[1].shape, Shape{6});
  EXPECT_EQ(parameters[2].shape, (Shape{5, 1, 3, 6}));
  EXPECT_EQ(sequential({20, 4}, {layers::GlobalAveragePool{}}).output_shape(), Shape{4});
  Model both({20, 4});
  EXPECT_EQ(both.shape(both.add(layers::Concat{}, {both.add(Conv1d{.channels = 3, .padding = {1, 1}}, 0), 0})), (Shape{20, 7}));
}

/// From one layer to the next nothing is copied or viewed anew.
TEST(Sequences, AreImagesOfOneRow) {
  const Model model = sequential({20, 4}, {Conv1d{.channels = 6}, layers::Activate{}, MaxPool1d{}, Conv1d{.channels = 2}, MaxPool1d{},
                                           layers::GlobalAveragePool{}, layers::Dense{2}});
  EXPECT_EQ(nodes_of(model),
            (std::vector<std::string>{"reshape", "conv2d", "relu", "max_pool2d", "conv2d", "max_pool2d", "global_average_pool", "dense"}));
  EXPECT_EQ(nodes_of(sequential({20, 4}, {Conv1d{.channels = 6}, Rnn{.hidden = 3}})),
            (std::vector<std::string>{"reshape", "conv2d", "reshape", "lstm"}));
  EXPECT_EQ(nodes_of(sequential({20, 4}, {MaxPool1d{}})), (std::vector<std::string>{"reshape", "max_pool2d", "reshape"}));
  Model residual({20, 4});
  residual.add(layers::Add{}, {residual.add(Conv1d{.channels = 4, .padding = {1, 1}}, 0), 0});
  EXPECT_EQ(nodes_of(residual), (std::vector<std::string>{"reshape", "conv2d", "reshape", "add", "reshape"}));
}

TEST(Sequences, AttentionAndLengthsInTheGraph) {
  const auto with = [](SequencePool pool) { return sequential({20, 5}, {Rnn{.hidden = 7, .bidirectional = true, .pool = pool}}); };
  const Model attention = with(SequencePool::attention);
  const auto parameters = attention.parameters();
  ASSERT_EQ(parameters.size(), 11u);
  EXPECT_EQ(parameters[8].name, "lstm1.attention.weight");
  EXPECT_EQ(parameters[8].shape, (Shape{7, 14}));
  EXPECT_EQ(parameters[9].shape, Shape{7});
  EXPECT_EQ(parameters[10].name, "lstm1.attention.score");
  EXPECT_EQ(parameters[10].shape, (Shape{1, 7}));
  EXPECT_EQ(nodes_of(attention),
            (std::vector<std::string>{"lstm", "reshape", "dense", "tanh", "dense", "reshape", "softmax", "weighted_sum"}));
  EXPECT_EQ(nodes_of(attention.with_lengths()),
            (std::vector<std::string>{"lstm", "reshape", "dense", "tanh", "dense", "reshape", "sequence_weights", "weighted_sum"}));
  EXPECT_EQ(nodes_of(with(SequencePool::mean).with_lengths()), (std::vector<std::string>{"lstm", "sequence_weights", "weighted_sum"}));
  EXPECT_EQ(nodes_of(with(SequencePool::last).with_lengths()), (std::vector<std::string>{"lstm", "last_state"}));
  const BuiltModel built = build(attention.with_lengths(), {.batch = 3, .normalise = false});
  EXPECT_EQ(built.graph.spec(built.lengths), (TensorSpec{DType::int32, {3}}));
  EXPECT_EQ(build(attention, {.batch = 3, .normalise = false}).lengths, kNoValue);
}

TEST(Sequences, LengthsAreRefusedWherePaddingWouldCount) {
  EXPECT_TRUE(recurrent(RnnMode::gru, {20, 5}, 1).with_lengths().lengths());
  const std::string conv = refusal([] { xrdnet({64, 1}, 2).with_lengths(); });
  EXPECT_NE(conv.find("scales.conv"), std::string::npos) << conv;
  EXPECT_NE(conv.find("takes the padding"), std::string::npos) << conv;
  EXPECT_NE(refusal([] { mlp({20, 5}, 1).with_lengths(); }).find("flatten1"), std::string::npos);
  EXPECT_NE(refusal([] { crystalnet({32, 32, 1}, 2).with_lengths(); }).find("only sequences"), std::string::npos);
  Model model = sequential({20, 5}, {Rnn{.hidden = 3}}).with_lengths();
  EXPECT_THROW(model.add(layers::BatchNorm{}, 1), Error);
  EXPECT_NO_THROW(model.add(layers::BatchNorm{}, model.add(layers::GlobalAveragePool{}, 1)));  // no sequence any more
}

TEST(Sequences, JsonKeepsEveryOption) {
  const Model model =
      sequential({40, 4}, {Conv1d{6, 5, 2, 3, {4, 1}, PaddingMode::periodic, 2, Activation::relu, false, Initializer::orthogonal},
                           MaxPool1d{3, 2, {1, 0}}, Rnn{.hidden = 3, .pool = SequencePool::attention}});
  const Model back = Model::from_json(model.to_json());
  EXPECT_EQ(back.to_json(), model.to_json());
  EXPECT_EQ(back.output_shape(), model.output_shape());
  const auto& conv = std::get<Conv1d>(back.entries()[0].layer);
  EXPECT_EQ(conv.padding, (std::array<std::int64_t, 2>{4, 1}));
  EXPECT_EQ(conv.padding_mode, PaddingMode::periodic);
  EXPECT_EQ(conv.dilation, 3);
  EXPECT_EQ(std::get<MaxPool1d>(back.entries()[1].layer).padding, (std::array<std::int64_t, 2>{1, 0}));
  EXPECT_EQ(std::get<Rnn>(back.entries()[2].layer).pool, SequencePool::attention);
  EXPECT_FALSE(back.lengths());
  const Model own = recurrent(RnnMode::lstm, {9, 2}, 3).with_lengths();
  EXPECT_TRUE(Model::from_json(own.to_json()).lengths());
  EXPECT_EQ(Model::from_json(xrdnet({320, 1}, 2, 0.25f).to_json()).parameter_count(), xrdnet({320, 1}, 2).parameter_count());
}

TEST(Sequences, ModelsByName) {
  const Model model =
      make_model("gru", {9, 2}, 3, {.hidden = {4}, .pool = SequencePool::attention, .bidirectional = true, .dropout = 0.25f});
  const auto& rnn = std::get<Rnn>(model.entries()[0].layer);
  EXPECT_EQ(rnn.pool, SequencePool::attention);
  EXPECT_TRUE(rnn.bidirectional);
  EXPECT_EQ(rnn.dropout, 0.25f);
  for (const char* name : {"lstm", "gru", "rnn", "xrdnet"}) EXPECT_TRUE(takes_sequences(name)) << name;
  EXPECT_FALSE(takes_sequences("mlp") || is_recurrent("xrdnet"));
  EXPECT_NE(refusal([] { make_model("xrdnet", {320, 1, 1}, 2); }).find("takes spectra [T, C]"), std::string::npos);
  EXPECT_THROW(make_model("xrdnet", {15, 1}, 2), Error);
  EXPECT_EQ(make_model("xrdnet", {16, 3}, 4).output_shape(), Shape{4});
  for (const char* name : {"none", "last", "mean", "attention"}) EXPECT_EQ(epitaxy::name(parse_sequence_pool(name)), name);
  EXPECT_THROW(parse_sequence_pool("first"), Error);
}

TEST(Sequences, Rejects) {
  EXPECT_NE(refusal([] { sequential({20, 5, 1}, {Conv1d{.channels = 2}}); }).find("must be a sequence [T, C]"), std::string::npos);
  EXPECT_THROW(sequential({20}, {MaxPool1d{}}), Error);
  EXPECT_THROW(sequential({20, 5}, {Conv1d{.channels = 2, .kernel = 21}}), Error);
  EXPECT_THROW(sequential({20, 5}, {Conv1d{.channels = 2, .groups = 2}}), Error);
  EXPECT_THROW(sequential({20, 5}, {Conv1d{.channels = 0}}), Error);
  EXPECT_THROW(sequential({20, 5}, {Conv1d{.channels = 2, .stride = 0}}), Error);
  EXPECT_THROW(sequential({20, 5}, {MaxPool1d{2, 2, {2, 0}}}), Error);
  Model model({20, 4});
  EXPECT_THROW(model.add(layers::Concat{}, {model.add(MaxPool1d{}, 0), 0}), Error);
}

}  // namespace
}  // namespace epitaxy
