// Recurrent networks: hand-computed values, finite differences, every device against the reference, lengths, threads.
#include "epitaxy/ops/rnn.h"

#include <cmath>
#include <limits>

#include "cpu/threads.h"
#include "tests/cases/activation.h"
#include "tests/cases/rnn.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

const Context kReference{&cpu_backend(), {}, true};

Tensor lengths_of(std::int64_t batch, std::int64_t steps) {  // the longest, the shortest, and between
  std::vector<double> lengths;
  for (std::int64_t n = 0; n < batch; ++n) lengths.push_back(static_cast<double>(n == 1 ? 1 : n % 3 == 0 ? steps : 1 + n * 7 % steps));
  return values(DType::int32, {batch}, lengths);
}

/// Inputs of an operation: x[, lengths][, states], weights as large as PyTorch draws them.
std::vector<Tensor> inputs_of(const RnnCase& c, DType dtype) {
  const RnnOptions& o = c.options;
  std::vector<Tensor> inputs{make({dtype, {c.batch, c.steps, c.input}}, Fill::normal(), 1)};
  if (o.lengths) inputs.push_back(lengths_of(c.batch, c.steps));
  const std::int64_t states = o.layers * (o.bidirectional ? 2 : 1);
  if (o.initial) {
    inputs.push_back(make({dtype, {states, c.batch, o.projection ? o.projection : o.hidden}}, Fill::normal(0, 0.5), 2));
    if (o.mode == RnnMode::lstm) inputs.push_back(make({dtype, {states, c.batch, o.hidden}}, Fill::normal(0, 0.5), 3));
  }
  const double bound = 1 / std::sqrt(static_cast<double>(o.hidden));
  std::uint64_t seed = 10;
  for (const auto& parameter : rnn_parameters(o, c.input))
    inputs.push_back(make({parameter.shape.rank() == 1 ? DType::fp32 : dtype, parameter.shape}, Fill::uniform(-bound, bound), ++seed));
  return inputs;
}

std::string describe(const RnnCase& c, DType dtype) {
  return text(name(dtype), " ", name(c.options.mode), " ", c.batch, " x ", c.steps, " x ", c.input, " -> ", c.options.hidden, ", layers ",
              c.options.layers, c.options.bidirectional ? ", both directions" : "", ", projection ", c.options.projection,
              c.options.lengths ? ", lengths" : "", c.options.initial ? ", states" : "", c.options.bias ? "" : ", no bias");
}

double logistic(double a) { return 1 / (1 + std::exp(-a)); }

TEST(Rnn, ParametersAreNamedAndShapedAsPyTorchs) {
  const auto list = [](const RnnOptions& options) {
    std::string all;
    for (const auto& p : rnn_parameters(options, 7)) all += text(p.name, p.shape, " ");
    return all;
  };
  EXPECT_EQ(list({.mode = RnnMode::gru, .hidden = 2}), "weight_ih_l0[6, 7] weight_hh_l0[6, 2] bias_ih_l0[6] bias_hh_l0[6] ");
  EXPECT_EQ(list({.mode = RnnMode::rnn_tanh, .hidden = 2, .layers = 2, .bias = false}),
            "weight_ih_l0[2, 7] weight_hh_l0[2, 2] weight_ih_l1[2, 2] weight_hh_l1[2, 2] ");
  EXPECT_EQ(list({.mode = RnnMode::lstm, .hidden = 3, .layers = 2, .bidirectional = true, .projection = 2}),
            "weight_ih_l0[12, 7] weight_hh_l0[12, 2] bias_ih_l0[12] bias_hh_l0[12] weight_hr_l0[2, 3] "
            "weight_ih_l0_reverse[12, 7] weight_hh_l0_reverse[12, 2] bias_ih_l0_reverse[12] bias_hh_l0_reverse[12] "
            "weight_hr_l0_reverse[2, 3] "
            "weight_ih_l1[12, 4] weight_hh_l1[12, 2] bias_ih_l1[12] bias_hh_l1[12] weight_hr_l1[2, 3] "
            "weight_ih_l1_reverse[12, 4] weight_hh_l1_reverse[12, 2] bias_ih_l1_reverse[12] bias_hh_l1_reverse[12] "
            "weight_hr_l1_reverse[2, 3] ");
}

/// One unit, two steps, every weight another number.
TEST(Rnn, HandValues) {
  const Tensor x = values(DType::fp32, {1, 2, 1}, {0.5, -1}), h0 = values(DType::fp32, {1, 1, 1}, {0.25});
  const auto check = [&](const RnnOptions& options, const std::vector<Tensor>& inputs, std::vector<double> y) {
    for (const bool reference : {true, false}) {
      const auto got = run_on({}, *rnn(options), inputs, reference);
      EXPECT_TRUE(close(got[0], values(DType::fp32, {1, 2, 1}, y), 1e-6)) << name(options.mode);
      EXPECT_TRUE(close(got[1], values(DType::fp32, {1, 1, 1}, {y[1]}), 1e-6)) << name(options.mode);
    }
  };
  const std::vector<Tensor> simple{x,
                                   h0,
                                   values(DType::fp32, {1, 1}, {2}),
                                   values(DType::fp32, {1, 1}, {-3}),
                                   values(DType::fp32, {1}, {0.5}),
                                   values(DType::fp32, {1}, {0.125})};
  const double t1 = std::tanh(2 * 0.5 + 0.5 - 3 * 0.25 + 0.125);  // 0.875
  check({.mode = RnnMode::rnn_tanh, .hidden = 1, .initial = true}, simple, {t1, std::tanh(-2 + 0.5 - 3 * t1 + 0.125)});
  check({.mode = RnnMode::rnn_relu, .hidden = 1, .initial = true}, simple, {0.875, 0});

  // lstm: gates i, f, g, o; x weights 1..4, h weights -1..-4, biases 0.1..0.4 and 0.
  const Tensor c0 = values(DType::fp32, {1, 1, 1}, {-0.5});
  const std::vector<Tensor> lstm{x,
                                 h0,
                                 c0,
                                 values(DType::fp32, {4, 1}, {1, 2, 3, 4}),
                                 values(DType::fp32, {4, 1}, {-1, -2, -3, -4}),
                                 values(DType::fp32, {4}, {0.1, 0.2, 0.3, 0.4}),
                                 values(DType::fp32, {4}, {0, 0, 0, 0})};
  double h = 0.25, c = -0.5;
  std::vector<double> y;
  for (const double in : {0.5, -1.0}) {
    const double i = logistic(in - h + 0.1), f = logistic(2 * in - 2 * h + 0.2), g = std::tanh(3 * in - 3 * h + 0.3),
                 o = logistic(4 * in - 4 * h + 0.4);
    c = f * c + i * g, h = o * std::tanh(c);
    y.push_back(h);
  }
  check({.mode = RnnMode::lstm, .hidden = 1, .initial = true}, lstm, y);
  EXPECT_TRUE(close(run(*rnn({.mode = RnnMode::lstm, .hidden = 1, .initial = true}), lstm, kReference)[2],
                    values(DType::fp32, {1, 1, 1}, {c}), 1e-6));

  // gru: gates r, z, n; the reset gate multiplies what h' gives, bias included.
  const std::vector<Tensor> gru{x,
                                h0,
                                values(DType::fp32, {3, 1}, {1, 2, 3}),
                                values(DType::fp32, {3, 1}, {-1, -2, -3}),
                                values(DType::fp32, {3}, {0.1, 0.2, 0.3}),
                                values(DType::fp32, {3}, {0.4, 0.5, 0.6})};
  h = 0.25, y.clear();
  for (const double in : {0.5, -1.0}) {
    const double r = logistic(in + 0.1 - h + 0.4), z = logistic(2 * in + 0.2 - 2 * h + 0.5),
                 n = std::tanh(3 * in + 0.3 + r * (-3 * h + 0.6));
    h = (1 - z) * n + z * h;
    y.push_back(h);
  }
  check({.mode = RnnMode::gru, .hidden = 1, .initial = true}, gru, y);
}

TEST(Rnn, Gradient) {
  for (const RnnMode mode : kRnnModes)
    for (const bool rich : {false, true}) {
      RnnCase c{{.mode = mode, .hidden = 3, .lengths = rich, .initial = rich}, 2, 3, 2};
      if (rich) c.options.layers = 2, c.options.bidirectional = true, c.options.projection = mode == RnnMode::lstm ? 2 : 0;
      SCOPED_TRACE(describe(c, DType::fp32));
      auto inputs = inputs_of(c, DType::fp32);
      if (mode == RnnMode::rnn_relu)  // units that stay far from the kink, on either side
        for (auto& input : inputs) {
          if (input.spec() == TensorSpec{DType::fp32, {3}}) input = values(DType::fp32, {3}, {1, -2, 1.5});
          if (input.shape().rank() == 3) input = make(input.spec(), Fill::uniform(0, 0.5), 7);
        }
      std::vector<int> wanted;
      for (int i = 0; i < static_cast<int>(inputs.size()); ++i)
        if (inputs[static_cast<std::size_t>(i)].dtype() == DType::fp32) wanted.push_back(i);
      check_gradient(rnn(c.options), inputs, wanted);
      if (rich || mode != RnnMode::lstm) continue;  // a last cell says nothing of the last output gate
      check_gradient(rnn(c.options), inputs, wanted, 1);
      check_gradient(rnn(c.options), inputs, wanted, 2);
    }
}

/// The gradient operation's inputs: the reserve is the device's own.
std::vector<Tensor> gradient_inputs(const RnnCase& c, std::vector<Tensor> inputs, const std::vector<Tensor>& forward) {
  inputs.push_back(forward[0]);
  inputs.push_back(forward.back());
  std::uint64_t seed = 40;
  for (std::size_t i = 0; i + 1 < forward.size(); ++i) inputs.push_back(make(forward[i].spec(), Fill::normal(), ++seed));
  (void)c;
  return inputs;
}
RnnGradients all_gradients(const RnnCase& c) { return {.y = true, .h_n = true, .c_n = c.options.mode == RnnMode::lstm, .x = true}; }

TEST(Rnn, Devices) {
  for (const DType dtype : kFloatTypes)
    for (RnnCase c : rnn_cases())
      for (const bool tf32 : {false, true}) {
        if (tf32 && dtype != DType::fp32) continue;
        c.options.tf32 = tf32;
        SCOPED_TRACE(describe(c, dtype));
        const auto inputs = inputs_of(c, dtype);
        const auto forward = rnn(c.options), gradient = rnn_gradient(c.options, all_gradients(c));
        RnnOptions inference = c.options;
        inference.training = false;
        check_devices(*rnn(inference), inputs);
        for (const Device device : devices()) {
          SCOPED_TRACE(name(device));
          if (const std::string why = why_absent(device); !why.empty()) {
            skip_device(device, why);
            continue;
          }
          if (device.kind == DeviceKind::cuda) {  // its reserve is larger than its spec, so it cannot cross to the host
            const Context context = make_context(device);
            std::vector<Tensor> there;
            for (const auto& input : inputs) there.push_back(copy_to(*context.backend, input, cpu_backend()));
            const auto results = run(*forward, there, context);
            EXPECT_TRUE(meets_tolerance(*forward, inputs, results));
            const auto host = gradient_inputs(c, inputs, run(*forward, inputs, kReference));
            std::vector<std::vector<Tensor>> repeats;
            for (int repeat = 0; repeat < 2; ++repeat) {  // cuDNN's gradient works in the reserve, so each has a forward pass of its own
              auto all = there;
              const auto again = run(*forward, there, context);
              for (std::size_t i = inputs.size(); i < host.size(); ++i)
                all.push_back(i == inputs.size()       ? again[0]
                              : i == inputs.size() + 1 ? again.back()
                                                       : copy_to(*context.backend, host[i], cpu_backend()));
              repeats.push_back(run(*gradient, all, context));
              repeats.back().insert(repeats.back().end(), again.begin(), again.end() - 1);
            }
            for (std::size_t i = 0; i < repeats[0].size(); ++i)
              EXPECT_TRUE(
                  same(copy_to(cpu_backend(), repeats[1][i], *context.backend), copy_to(cpu_backend(), repeats[0][i], *context.backend)))
                  << "result " << i << " differs between two runs";
            repeats[0].resize(repeats[0].size() - (results.size() - 1));
            EXPECT_TRUE(meets_tolerance(*gradient, host, repeats[0], c.steps == 1));
            continue;
          }
          const auto results = run_on(device, *forward, inputs);
          EXPECT_TRUE(meets_tolerance(*forward, inputs, results));
          const auto all = gradient_inputs(c, inputs, results);
          EXPECT_TRUE(meets_tolerance(*gradient, all, run_on(device, *gradient, all), c.steps == 1));
        }
      }
}

/// A gradient that does not arrive is zero, and dx may be left out.
TEST(Rnn, PartialGradients) {
  for (const RnnMode mode : kRnnModes) {
    const RnnCase c{{.mode = mode, .hidden = 5, .layers = 2, .bidirectional = true, .lengths = true}, 9, 4, 3};
    const auto inputs = inputs_of(c, DType::fp32);
    auto all = gradient_inputs(c, inputs, run_on({}, *rnn(c.options), inputs));
    const std::size_t dy = inputs.size() + 2;
    for (std::size_t i = dy + 1; i < all.size(); ++i) all[i] = make(all[i].spec(), Fill::constant(0), 0);
    const auto want = run_on({}, *rnn_gradient(c.options, all_gradients(c)), all);
    all.resize(dy + 1);
    const auto got = run_on({}, *rnn_gradient(c.options, {.x = false}), all);
    ASSERT_EQ(got.size() + 1, want.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(same(got[i], want[i + 1]));
  }
}

/// A batch of sequences of their own lengths gives each the bits that it has alone, and zeros beyond its end.
TEST(Rnn, LengthsKeepSequencesApart) {
  for (const RnnMode mode : kRnnModes) {
    const RnnCase c{{.mode = mode, .hidden = 7, .layers = 2, .bidirectional = true, .lengths = true}, 11, 6, 3};
    const auto inputs = inputs_of(c, DType::fp32);
    RnnOptions alone = c.options;
    alone.lengths = false;
    const auto y = run_on({}, *rnn(c.options), inputs)[0];
    for (std::int64_t n = 0; n < c.batch; ++n) {
      const std::int64_t length = inputs[1].as<std::int32_t>()[n], width = y.dim(2);
      std::vector<Tensor> one{inputs[0].slice(n, 1).reshape({c.steps, c.input}).slice(0, length).reshape({1, length, c.input})};
      one.insert(one.end(), inputs.begin() + 2, inputs.end());
      const Tensor want = run_on({}, *rnn(alone), one)[0], got = y.slice(n, 1).reshape({c.steps, width});
      EXPECT_TRUE(same(got.slice(0, length).reshape(want.shape()), want)) << name(mode) << ", sequence " << n;
      for (std::int64_t i = length * width; i < c.steps * width; ++i) ASSERT_EQ(got.as<float>()[i], 0) << name(mode) << ", sequence " << n;
    }
  }
}

TEST(Rnn, SameBitsForAnyNumberOfThreads) {
  const int before = cpu_threads();
  for (const DType dtype : {DType::fp32, DType::bf16})
    for (const RnnMode mode : kRnnModes) {
      const RnnCase c{{.mode = mode, .hidden = 40, .layers = 2, .lengths = true}, 37, 40, 20};  // enough work for four
      const auto inputs = inputs_of(c, dtype);
      std::vector<std::vector<Tensor>> results;
      for (const int threads : {1, 2, 4}) {
        set_cpu_threads(threads);
        const auto forward = run(*rnn(c.options), inputs, make_context({}));
        auto all = run(*rnn_gradient(c.options, all_gradients(c)), gradient_inputs(c, inputs, forward), make_context({}));
        all.insert(all.end(), forward.begin(), forward.end() - 1);
        results.push_back(std::move(all));
      }
      for (std::size_t i = 0; i < results[0].size(); ++i) {
        EXPECT_TRUE(same(results[1][i], results[0][i])) << name(mode);
        EXPECT_TRUE(same(results[2][i], results[0][i])) << name(mode);
      }
    }
  set_cpu_threads(before);
}

TEST(Rnn, NaNReachesItsOwnSequenceAlone) {
  for (const RnnMode mode : kRnnModes) {
    const RnnCase c{{.mode = mode, .hidden = 5}, 3, 4, 2};
    auto inputs = inputs_of(c, DType::fp32);
    inputs[0].as<float>()[1 * 4 * 2 + 2 * 2] = std::numeric_limits<float>::quiet_NaN();  // sequence 1, step 2
    for (const bool reference : {true, false}) {
      const auto y = numbers(run_on({}, *rnn(c.options), inputs, reference)[0]);
      for (std::size_t i = 0; i < y.size(); ++i)
        EXPECT_EQ(std::isnan(y[i]), i / 5 / 4 == 1 && i / 5 % 4 >= 2) << name(mode) << (reference ? ", reference, " : ", fast, ") << i;
    }
  }
}

TEST(Rnn, SaturatesWithoutNaN) {
  for (const RnnMode mode : {RnnMode::rnn_tanh, RnnMode::lstm, RnnMode::gru}) {
    const RnnCase c{{.mode = mode, .hidden = 5}, 3, 4, 2};
    auto inputs = inputs_of(c, DType::fp32);
    inputs[0] = make(inputs[0].spec(), Fill::uniform(-1e20, 1e20), 5);
    EXPECT_TRUE(meets_tolerance(*rnn(c.options), inputs, run_on({}, *rnn(c.options), inputs))) << name(mode);
  }
}

TEST(Rnn, Rejects) {
  EXPECT_THROW(rnn({.hidden = 0}), Error);
  EXPECT_THROW(rnn({.hidden = 4, .layers = 9}), Error);
  EXPECT_THROW(rnn({.mode = RnnMode::gru, .hidden = 4, .projection = 2}), Error);
  EXPECT_THROW(rnn({.mode = RnnMode::lstm, .hidden = 4, .projection = 4}), Error);
  EXPECT_THROW(rnn_gradient({.hidden = 4}, {.y = false}), Error);
  EXPECT_THROW(rnn_gradient({.mode = RnnMode::gru, .hidden = 4}, {.c_n = true}), Error);
  const RnnCase c{{.mode = RnnMode::gru, .hidden = 4, .lengths = true, .initial = true}, 3, 5, 2};
  const auto operation = rnn(c.options);
  const auto inputs = inputs_of(c, DType::fp32);
  std::vector<TensorSpec> specs;
  for (const auto& input : inputs) specs.push_back(input.spec());
  EXPECT_EQ(operation->outputs(specs)[0], (TensorSpec{DType::fp32, {3, 5, 4}}));
  EXPECT_FALSE(operation->capturable());
  EXPECT_TRUE(operation->is_opaque(2));
  for (std::size_t i = 0; i < specs.size(); ++i) {  // each input in another shape, then in another type
    auto wrong = specs;
    wrong[i].shape = {1};
    EXPECT_THROW(operation->outputs(wrong), Error) << i;
    wrong = specs;
    wrong[i].dtype = DType::fp16;
    EXPECT_THROW(operation->outputs(wrong), Error) << i;
  }
  specs.pop_back();
  EXPECT_THROW(operation->outputs(specs), Error);
  for (const double length : {0.0, -1.0, 6.0})
    for (const bool reference : {true, false}) {
      auto bad = inputs;
      bad[1] = values(DType::int32, {3}, {5, length, 1});
      const Context context{&cpu_backend(), {}, reference};
      EXPECT_THROW(run(*operation, bad, context), Error) << length;
    }
  RnnOptions inference = c.options;
  inference.training = false;
  EXPECT_THROW(check_gradient(rnn(inference), inputs, {0}), Error);
}

}  // namespace
}  // namespace epitaxy::test
