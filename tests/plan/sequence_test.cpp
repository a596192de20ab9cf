// Compiled models over sequences: 1-D layers by hand, and batches with lengths against the same sequences one by one.
#include <gtest/gtest.h>

#include <cmath>

#include "epitaxy/plan/compiled_model.h"
#include "tests/support/compare.h"

namespace epitaxy {
namespace {

using layers::Conv1d;
using layers::Rnn;
using layers::SequencePool;
using test::values;

std::vector<double> predicted(const Model& model, const std::vector<NamedTensor>& weights, const Tensor& x) {
  CompileOptions options;
  options.training = false;
  CompiledModel compiled(model, options);
  compiled.set_weights(weights);
  return test::numbers(compiled.predict(x));
}

TEST(SequenceModel, ConvolutionAndPoolingByHand) {
  const Tensor x = values(DType::fp32, {1, 4, 1}, {1, 2, 3, 4});
  const std::vector<NamedTensor> weights{{"conv1d1.weight", values(DType::fp32, {1, 1, 3, 1}, {1, 10, 100})}};
  const auto with = [](PaddingMode mode) {
    return sequential({4, 1}, {Conv1d{.channels = 1, .padding = {1, 1}, .padding_mode = mode, .bias = false}, layers::Flatten{}});
  };
  EXPECT_EQ(predicted(with(PaddingMode::zeros), weights, x), (std::vector<double>{210, 321, 432, 43}));
  EXPECT_EQ(predicted(with(PaddingMode::periodic), weights, x), (std::vector<double>{214, 321, 432, 143}));
  const Tensor two = values(DType::fp32, {1, 4, 2}, {1, -2, 5, 3, 2, 0, 4, -1});
  EXPECT_EQ(predicted(sequential({4, 2}, {layers::MaxPool1d{}, layers::Flatten{}}), {}, two), (std::vector<double>{5, 3, 4, 0}));
  EXPECT_EQ(predicted(sequential({4, 2}, {layers::MaxPool1d{3, 2, {1, 0}}, layers::Flatten{}}), {}, two),
            (std::vector<double>{5, 3, 5, 3}));
  EXPECT_EQ(predicted(sequential({4, 2}, {layers::GlobalAveragePool{}}), {}, two), (std::vector<double>{3, 0}));
}

/// Scores log 1, log 2, log 5 through tanh: the weights of the mean are 1/8, 2/8, 5/8.
TEST(SequenceModel, AttentionByHand) {
  const Model model = sequential({3, 1}, {Rnn{.mode = RnnMode::rnn_relu, .hidden = 1, .pool = SequencePool::attention}});
  const auto one = [](double value) { return values(DType::fp32, {1, 1}, {value}); };
  const auto bias = [](double value) { return values(DType::fp32, {1}, {value}); };
  const double score = 4;  // times tanh(h - 1): h chosen for these logarithms
  const auto h = [&](double ratio) { return 1 + std::atanh(std::log(ratio) / score); };
  const Tensor x = values(DType::fp32, {1, 3, 1}, {h(1), h(2), h(5)});
  const std::vector<NamedTensor> weights{{"rnn1.weight_ih_l0", one(1)},       {"rnn1.weight_hh_l0", one(0)},
                                         {"rnn1.bias_ih_l0", bias(0)},        {"rnn1.bias_hh_l0", bias(0)},
                                         {"rnn1.attention.weight", one(1)},   {"rnn1.attention.bias", bias(-1)},
                                         {"rnn1.attention.score", one(score)}};
  EXPECT_NEAR(predicted(model, weights, x)[0], (h(1) + 2 * h(2) + 5 * h(5)) / 8, 1e-6);
}

constexpr std::int64_t kSteps = 7, kFeatures = 3;
constexpr std::array<std::int32_t, 5> kLengths{7, 1, 4, 6, 3};

/// Mode, layers, directions, pooling.
Model network(std::int64_t steps, RnnMode mode, bool bidirectional, SequencePool pool) {
  return sequential({steps, kFeatures},
                    {Rnn{.mode = mode, .hidden = 4, .bidirectional = true},
                     Rnn{.mode = mode, .hidden = 6, .layers = 2, .bidirectional = bidirectional, .pool = pool}, layers::Dense{2}});
}

/// Steps beyond the lengths hold large numbers, which nothing may read.
Tensor padded() {
  Tensor x = test::make({DType::fp32, {5, kSteps, kFeatures}}, test::Fill::normal(), 1);
  for (std::int64_t n = 0; n < 5; ++n)
    for (std::int64_t i = kLengths[static_cast<std::size_t>(n)] * kFeatures; i < kSteps * kFeatures; ++i)
      x.as<float>()[n * kSteps * kFeatures + i] = 1e4f;
  return x;
}

Tensor lengths() {
  Tensor result(cpu_backend(), {DType::int32, {5}});
  std::copy(kLengths.begin(), kLengths.end(), result.as<std::int32_t>());
  return result;
}

CompileOptions plain_sgd() {
  CompileOptions options;
  options.loss = LossKind::mean_squared_error;
  options.optimizer.kind = OptimizerKind::sgd;
  options.optimizer.momentum = options.optimizer.weight_decay = 0;
  options.mean = {0.5f, 0, -0.5f};
  options.scale = {1, 2, 1};
  return options;
}

/// Predictions are those of the sequences alone, and one step moves the weights by the mean of what each alone moves them by.
TEST(SequenceModel, ABatchWithLengthsIsItsSequencesOneByOne) {
  const Tensor x = padded(), y = test::make({DType::fp32, {5, 2}}, test::Fill::normal(), 2);
  for (const RnnMode mode : {RnnMode::rnn_tanh, RnnMode::lstm, RnnMode::gru})
    for (const bool bidirectional : {false, true})
      for (const SequencePool pool : {SequencePool::last, SequencePool::mean, SequencePool::attention}) {
        SCOPED_TRACE(text(name(mode), bidirectional ? " in both directions, " : ", ", name(pool)));
        CompiledModel together(network(kSteps, mode, bidirectional, pool).with_lengths(), plain_sgd());
        const auto before = together.weights();
        std::vector<std::vector<double>> moved(before.size());
        for (std::size_t p = 0; p < before.size(); ++p) moved[p].resize(static_cast<std::size_t>(before[p].tensor.count()));
        const auto predictions = test::numbers(together.predict(x, lengths()));
        for (std::int64_t n = 0; n < 5; ++n) {
          const std::int64_t steps = kLengths[static_cast<std::size_t>(n)];
          CompiledModel alone(network(steps, mode, bidirectional, pool), plain_sgd());
          alone.set_weights(before);
          const Tensor own = x.slice(n, 1).reshape({kSteps, kFeatures}).slice(0, steps).reshape({1, steps, kFeatures});
          const auto one = test::numbers(alone.predict(own));
          for (std::size_t o = 0; o < 2; ++o)
            EXPECT_NEAR(predictions[static_cast<std::size_t>(2 * n) + o], one[o], 1e-5) << "sequence " << n;
          alone.train_step(own, y.slice(n, 1), 0.5f);
          const auto after = alone.weights();
          for (std::size_t p = 0; p < moved.size(); ++p)
            for (std::size_t i = 0; i < moved[p].size(); ++i)
              moved[p][i] += (static_cast<double>(after[p].tensor.as<float>()[i]) - before[p].tensor.as<float>()[i]) / 5;
        }
        together.train_step(x, y, 0.5f, {}, lengths());
        const auto after = together.weights();
        for (std::size_t p = 0; p < moved.size(); ++p)
          for (std::size_t i = 0; i < moved[p].size(); ++i)
            ASSERT_NEAR(after[p].tensor.as<float>()[i] - before[p].tensor.as<float>()[i], moved[p][i], 1e-5) << before[p].name << " " << i;
      }
}

TEST(SequenceModel, WithoutLengthsAllSequencesAreWhole) {
  const Tensor x = test::make({DType::fp32, {5, kSteps, kFeatures}}, test::Fill::normal(), 1);
  const Tensor whole = values(DType::int32, {5}, {7, 7, 7, 7, 7});
  const Model model = network(kSteps, RnnMode::gru, true, SequencePool::mean);
  CompiledModel own(model.with_lengths(), plain_sgd()), fixed(model, plain_sgd());
  const Tensor result = own.predict(x);
  EXPECT_TRUE(test::same(result, own.predict(x, whole)));
  EXPECT_TRUE(test::close(result, fixed.predict(x), 1e-6));
  EXPECT_FALSE(test::same(result, own.predict(x, lengths())));
}

TEST(SequenceModel, RefusesLengthsThatDoNotFit) {
  const Tensor x = test::make({DType::fp32, {5, kSteps, kFeatures}}, test::Fill::normal(), 1);
  const Model model = network(kSteps, RnnMode::gru, false, SequencePool::last);
  CompiledModel own(model.with_lengths(), plain_sgd()), fixed(model, plain_sgd());
  EXPECT_THROW(fixed.predict(x, lengths()), Error);
  EXPECT_THROW(own.predict(x, values(DType::int32, {4}, {1, 2, 3, 4})), Error);
  EXPECT_THROW(own.predict(x, values(DType::int64, {5}, {1, 2, 3, 4, 5})), Error);
  for (const double bad : {0, 8}) {
    try {
      own.train_step(x, test::make({DType::fp32, {5, 2}}, test::Fill::normal(), 2), 0.1f, {}, values(DType::int32, {5}, {1, bad, 3, 4, 5}));
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("lengths lie in [1, 7]"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace epitaxy
