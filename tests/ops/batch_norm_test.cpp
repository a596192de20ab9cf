// Batch normalisation: hand-computed values, finite differences through the whole composition, every part on every device.
#include "epitaxy/ops/batch_norm.h"

#include <cmath>
#include <limits>

#include "epitaxy/ops/activation.h"
#include "epitaxy/ops/add.h"
#include "epitaxy/ops/graph.h"
#include "epitaxy/ops/loss.h"
#include "kernels/reduce.h"
#include "tests/cases/activation.h"
#include "tests/cases/batch_norm.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

const Context kReference{&cpu_backend(), {}, true};

std::vector<Tensor> zeros_and_ones(std::int64_t channels) {
  return {make({DType::fp32, {channels}}, Fill::constant(0), 0), make({DType::fp32, {channels}}, Fill::constant(1), 0)};
}

/// mean and inverse_std of x by the reference.
std::vector<Tensor> moments(const Tensor& x) {
  const auto running = zeros_and_ones(x.dim(-1));
  const Tensor partials = run(*batch_norm_statistics(), {x}, kReference)[0];
  return run(*batch_norm_finalize({}, x.count() / x.dim(-1)), {partials, running[0], running[1]}, kReference);
}

TEST(BatchNorm, HandValues) {
  // Channel 0: 1, 2, 3, 6 (mean 3, squared deviations 14); channel 1: constant 5.
  const Tensor x = values(DType::fp32, {4, 2}, {1, 5, 2, 5, 3, 5, 6, 5});
  const Tensor partials = run(*batch_norm_statistics(), {x}, kReference)[0];
  EXPECT_TRUE(same(partials, values(DType::fp32, {1, 2, 2}, {3, 5, 14, 0})));
  const auto out = run(*batch_norm_finalize({.epsilon = 0.5f, .momentum = 0.25f}, 4),
                       {partials, values(DType::fp32, {2}, {7, 1}), values(DType::fp32, {2}, {2, 4})}, kReference);
  EXPECT_TRUE(close(out[0], values(DType::fp32, {2}, {3, 5}), 1e-7));
  EXPECT_TRUE(close(out[1], values(DType::fp32, {2}, {0.5, 1.41421356}), 1e-7));        // 1/sqrt(3.5 + 0.5), 1/sqrt(0.5)
  EXPECT_TRUE(close(out[2], values(DType::fp32, {2}, {6, 2}), 1e-6));                   // 0.75 * old + 0.25 * mean
  EXPECT_TRUE(close(out[3], values(DType::fp32, {2}, {1.5 + 14.0 / 3 / 4, 3}), 1e-6));  // unbiased: 14 / 3
  const Tensor gamma = values(DType::fp32, {2}, {2, 3}), beta = values(DType::fp32, {2}, {10, -1});
  const Tensor y = run(*batch_norm_apply(true), {x, out[0], out[1], gamma, beta}, kReference)[0];
  EXPECT_TRUE(close(y, values(DType::fp32, {4, 2}, {8, -1, 9, -1, 10, -1, 13, -1}), 1e-6));
  const Tensor dy = values(DType::fp32, {4, 2}, {1, 2, 0, 0, -1, 0, 4, 0});
  const auto sums = run(*batch_norm_reduce(), {x, dy, out[0], out[1]}, kReference);
  EXPECT_TRUE(close(sums[0], values(DType::fp32, {2}, {(-2 * 1 + 3 * 4) * 0.5, 0}), 1e-6));
  EXPECT_TRUE(close(sums[1], values(DType::fp32, {2}, {4, 2}), 1e-6));
  // dx = 2 * 0.5 * (dy - 4/4 - xhat * 5/4), xhat = -1, -0.5, 0, 1.5
  const Tensor dx = run(*batch_norm_input_gradient(true), {x, dy, out[0], out[1], gamma, sums[0], sums[1]}, kReference)[0];
  EXPECT_TRUE(
      close(dx.reshape({4, 2}),
            values(DType::fp32, {4, 2},
                   {1.25, 3 * 1.41421356 * 1.5, -0.375, -3 * 1.41421356 * 0.5, -2, -3 * 1.41421356 * 0.5, 1.125, -3 * 1.41421356 * 0.5}),
            1e-5));
  const auto stored =
      run(*batch_norm_inference({.epsilon = 0.5f}), {values(DType::fp32, {2}, {7, 1}), values(DType::fp32, {2}, {3.5, 0})}, kReference);
  EXPECT_TRUE(close(stored[0], values(DType::fp32, {2}, {7, 1}), 0));
  EXPECT_TRUE(close(stored[1], values(DType::fp32, {2}, {0.5, 1.41421356}), 1e-7));
}

/// Statistics, finalize and apply as a network has them: the gradients of x, gamma and beta against central differences.
TEST(BatchNorm, GradientThroughTheStatistics) {
  const std::int64_t pixels = 6, channels = 3;
  const TensorSpec image{DType::fp32, {2, 3, channels}}, vector{DType::fp32, {channels}};
  Graph graph;
  const ValueId x = graph.add_value("x", image, Role::parameter), gamma = graph.add_value("gamma", vector, Role::parameter),
                beta = graph.add_value("beta", vector, Role::parameter);
  const ValueId old_mean = graph.add_value("running_mean", vector, Role::state),
                old_variance = graph.add_value("running_variance", vector, Role::state);
  const ValueId partials = graph.add(batch_norm_statistics(), {x})[0];
  const auto stats = graph.add(batch_norm_finalize({}, pixels), {partials, old_mean, old_variance});
  const int apply_node = static_cast<int>(graph.nodes().size());
  const ValueId y = graph.add(batch_norm_apply(true), {x, stats[0], stats[1], gamma, beta})[0];
  const std::size_t forward_nodes = graph.nodes().size();
  const ValueId dy = graph.add_value("dy", image, Role::input);
  const bool wants[]{true, true, true, true, true};
  GradientBuilder builder(graph, apply_node, std::vector<ValueId>{dy}, wants);
  graph.nodes()[static_cast<std::size_t>(apply_node)].operation->differentiate(builder);
  EXPECT_EQ(builder.results()[1], kNoValue);  // mean and inverse_std are functions of x, and dx accounts for them
  EXPECT_EQ(builder.results()[2], kNoValue);

  std::vector<Tensor> tensors(graph.values().size());
  const auto at = [&](ValueId id) -> Tensor& { return tensors[static_cast<std::size_t>(id)]; };
  at(x) = make(image, Fill::normal(1, 2), 1), at(gamma) = make(vector, Fill::normal(1), 2), at(beta) = make(vector, Fill::normal(), 3);
  at(dy) = make(image, Fill::normal(), 4), at(old_mean) = zeros_and_ones(channels)[0], at(old_variance) = zeros_and_ones(channels)[1];
  const auto evaluate = [&](std::size_t nodes) {
    for (std::size_t n = 0; n < nodes; ++n) {
      const Node& node = graph.nodes()[n];
      std::vector<Tensor> arguments;
      for (const ValueId id : node.inputs) arguments.push_back(at(id));
      const auto results = run(*node.operation, arguments, kReference);
      for (std::size_t i = 0; i < results.size(); ++i) at(node.outputs[i]) = results[i];
    }
    double sum = 0;
    const auto a = numbers(at(y)), b = numbers(at(dy));
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  };
  evaluate(graph.nodes().size());
  for (const auto& [input, result] : {std::pair{x, builder.results()[0]}, {gamma, builder.results()[3]}, {beta, builder.results()[4]}}) {
    const auto stated = numbers(at(result));
    for (std::int64_t i = 0; i < at(input).count(); ++i) {
      float& value = at(input).as<float>()[i];
      const float kept = value, step = 1e-2f;
      value = kept + step;
      const double up = evaluate(forward_nodes);
      value = kept - step;
      const double down = evaluate(forward_nodes);
      value = kept;
      EXPECT_NEAR(stated[static_cast<std::size_t>(i)], (up - down) / (2 * step), 2e-3) << graph.value(input).name << " " << i;
    }
  }
}

TEST(BatchNorm, GradientInInference) {
  const Tensor x = make({DType::fp32, {3, 4}}, Fill::normal(1, 2), 1), gamma = make({DType::fp32, {4}}, Fill::normal(1), 2),
               beta = make({DType::fp32, {4}}, Fill::normal(), 3), mean = make({DType::fp32, {4}}, Fill::normal(), 4),
               inverse_std = make({DType::fp32, {4}}, Fill::uniform(0.5, 2), 5);
  check_gradient(batch_norm_apply(false), {x, mean, inverse_std, gamma, beta}, {0, 3, 4});
}

TEST(BatchNorm, FusedGradientInInference) {
  const Tensor x = make({DType::fp32, {3, 4}}, Fill::normal(1, 2), 1), gamma = make({DType::fp32, {4}}, Fill::normal(1), 2),
               beta = make({DType::fp32, {4}}, Fill::normal(), 3), mean = make({DType::fp32, {4}}, Fill::normal(), 4),
               inverse_std = make({DType::fp32, {4}}, Fill::uniform(0.5, 2), 5), residual = make(x.spec(), Fill::normal(), 6);
  check_gradient(batch_norm_apply(false, {Activation::relu}), {x, mean, inverse_std, gamma, beta}, {0, 3, 4}, 0, 1e-3);
  check_gradient(batch_norm_apply(false, {Activation::none, true}), {x, mean, inverse_std, gamma, beta, residual}, {0, 3, 4, 5});
  check_gradient(batch_norm_apply(false, {Activation::relu, true}), {x, mean, inverse_std, gamma, beta, residual}, {0, 3, 4, 5}, 0, 1e-3);
}

TEST(BatchNorm, FusedHandValues) {
  const Tensor x = values(DType::fp32, {2, 3}, {1, 2, 3, -1, -2, 3}), zero = values(DType::fp32, {3}, {0, 0, 0}),
               one = values(DType::fp32, {3}, {1, 1, 1}), beta = values(DType::fp32, {3}, {0, -2, -1});
  const Tensor residual = values(DType::fp32, {2, 3}, {-3, 0.5, 0, 2, 1, -4}), dy = values(DType::fp32, {2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_TRUE(close(run(*batch_norm_apply(true, {Activation::relu}), {x, zero, one, one, beta}, kReference)[0],
                    values(DType::fp32, {2, 3}, {1, 0, 2, 0, 0, 2}), 0));
  const auto sums = run(*batch_norm_reduce({Activation::relu}), {x, dy, zero, one, one, beta}, kReference);
  EXPECT_TRUE(close(sums[0], values(DType::fp32, {3}, {1, 0, 27}), 0));
  EXPECT_TRUE(close(sums[1], values(DType::fp32, {3}, {1, 0, 9}), 0));
  const auto added = run(*batch_norm_apply(true, {Activation::relu, true}), {x, zero, one, one, beta, residual}, kReference);
  EXPECT_TRUE(close(added[0], values(DType::fp32, {2, 3}, {0, 0.5, 2, 1, 0, 0}), 0));
  EXPECT_TRUE(same(added[1], values(DType::uint8, {2, 1}, {2 + 4, 1})));
  const auto with_residual = run(*batch_norm_reduce({Activation::relu, true}), {x, dy, zero, one, added[1]}, kReference);
  EXPECT_TRUE(close(with_residual[0], values(DType::fp32, {3}, {-4, 4, 9}), 0));
  EXPECT_TRUE(close(with_residual[1], values(DType::fp32, {3}, {4, 2, 3}), 0));
  EXPECT_TRUE(close(with_residual[2], values(DType::fp32, {2, 3}, {0, 2, 3, 4, 0, 0}), 0));
}

/// One forward and backward pass of normalisation, residual and ReLU over a graph's nodes: y, dx, dgamma, dbeta, dresidual.
std::vector<Tensor> forward_and_backward(Device device, bool fused, bool training, bool add_residual, const std::vector<Tensor>& inputs) {
  Graph graph;
  std::vector<ValueId> ids;
  for (std::size_t i = 0; i < (add_residual ? 6 : 5); ++i)
    ids.push_back(graph.add_value(text("input", i), inputs[i].spec(), Role::parameter));
  ValueId y;
  if (fused) {
    y = graph.add(batch_norm_apply(training, {Activation::relu, add_residual}), ids)[0];
  } else {
    y = graph.add(batch_norm_apply(training), {ids.begin(), ids.begin() + 5})[0];
    if (add_residual) y = graph.add(add(), {y, ids[5]})[0];
    y = graph.add(activation(Activation::relu), {y})[0];
  }
  const ValueId target = graph.add_value("target", inputs[6].spec(), Role::target);
  const ValueId loss = graph.add(regression_loss(RegressionLoss::mean_squared_error), {y, target})[0];
  std::vector<ValueId> wanted{ids[0], ids[3], ids[4]};
  if (add_residual) wanted.push_back(ids[5]);
  const auto gradients = differentiate(graph, loss, wanted);
  std::vector<Tensor> tensors(graph.values().size());
  const auto at = [&](ValueId id) -> Tensor& { return tensors[static_cast<std::size_t>(id)]; };
  for (std::size_t i = 0; i < ids.size(); ++i) at(ids[i]) = inputs[i];
  at(target) = inputs[6];
  for (const Node& node : graph.nodes()) {
    std::vector<Tensor> arguments;
    for (const ValueId id : node.inputs) arguments.push_back(at(id));
    const auto results = run_on(device, *node.operation, arguments);
    for (std::size_t i = 0; i < results.size(); ++i) at(node.outputs[i]) = results[i];
  }
  std::vector<Tensor> results{at(y)};
  for (const ValueId id : gradients) results.push_back(at(id));
  return results;
}

/// In fp32 the fused nodes give the separate nodes' bits; in 16 bits, where a residual saves a rounding, they do without one.
TEST(BatchNorm, FusedEqualsSeparateNodes) {
  for (const DType dtype : kFloatTypes)
    for (const bool with_residual : {false, true})
      for (const bool training : {true, false})
        for (const auto& [pixels, channels] : {std::pair<std::int64_t, std::int64_t>{300, 16}, {130, 5}, {140, 12}, {9, 264}}) {
          if (dtype != DType::fp32 && with_residual) continue;
          const TensorSpec image{dtype, {pixels, channels}}, vector{DType::fp32, {channels}};
          const Tensor x = make(image, Fill::normal(0.3, 1.7), 1);
          const auto m = moments(x);
          const std::vector<Tensor> inputs{x,
                                           m[0],
                                           m[1],
                                           make(vector, Fill::normal(1), 2),
                                           make(vector, Fill::normal(0.2), 3),
                                           make(image, Fill::normal(), 4),
                                           make({DType::fp32, image.shape}, Fill::normal(), 5)};
          for (const Device device : devices()) {
            SCOPED_TRACE(
                text(name(device), " ", name(dtype), " ", image.shape, with_residual ? " residual" : "", training ? " training" : ""));
            if (const std::string why = why_absent(device); !why.empty()) {
              skip_device(device, why);
              continue;
            }
            const auto fused = forward_and_backward(device, true, training, with_residual, inputs);
            const auto separate = forward_and_backward(device, false, training, with_residual, inputs);
            for (std::size_t i = 0; i < fused.size(); ++i) EXPECT_TRUE(same(fused[i], separate[i])) << "result " << i;
          }
        }
}

/// Values that a 16-bit type rounds to zero are closed for the gradient too, as they are where y itself is looked at.
TEST(BatchNorm, MaskIsThatOfTheRoundedOutput) {
  const Tensor x = values(DType::fp16, {4, 1}, {0x1p-14, 0x1p-15, 0x1p-13, -1}), zero = values(DType::fp32, {1}, {0}),
               one = values(DType::fp32, {1}, {1}), gamma = values(DType::fp32, {1}, {0x1p-11});  // y = 2^-25 (to 0), 2^-26, 2^-24, < 0
  const Tensor dy = values(DType::fp16, {4, 1}, {1, 2, 4, 8});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    SCOPED_TRACE(name(device));
    EXPECT_TRUE(close(run_on(device, *batch_norm_apply(true, {Activation::relu}), {x, zero, one, gamma, zero})[0],
                      values(DType::fp16, {4, 1}, {0, 0, 0x1p-24, 0}), 0));
    EXPECT_TRUE(close(run_on(device, *batch_norm_reduce({Activation::relu}), {x, dy, zero, one, gamma, zero})[1],
                      values(DType::fp32, {1}, {4}), 0));
  }
}

TEST(BatchNorm, NonFiniteValuesThroughTheEpilogue) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const Tensor x = values(DType::fp32, {4, 1}, {nan, infinity, -infinity, 1}), zero = values(DType::fp32, {1}, {0}),
               one = values(DType::fp32, {1}, {1}), residual = values(DType::fp32, {4, 1}, {0, 0, 0, -infinity});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    SCOPED_TRACE(name(device));
    const auto out = run_on(device, *batch_norm_apply(true, {Activation::relu, true}), {x, zero, one, one, zero, residual});
    const auto y = numbers(out[0]);
    EXPECT_TRUE(std::isnan(y[0]) && y[1] == infinity && y[2] == 0 && y[3] == 0);
    EXPECT_TRUE(same(out[1], values(DType::uint8, {4, 1}, {0, 1, 0, 0})));
    const auto plain = numbers(run_on(device, *batch_norm_apply(true), {x, zero, one, one, zero})[0]);
    EXPECT_TRUE(std::isnan(plain[0]) && plain[1] == infinity && plain[2] == -infinity && plain[3] == 1);
  }
}

TEST(BatchNorm, Devices) {
  for (const DType dtype : kFloatTypes)
    for (const BatchNormCase& c : kBatchNormCases) {
      if (dtype != DType::fp32 && c.mean > 100) continue;
      SCOPED_TRACE(text(name(dtype), " [", c.pixels, ", ", c.channels, "] mean ", c.mean));
      const Tensor x = make({dtype, {c.pixels, c.channels}}, Fill::normal(c.mean, c.sigma), 1), dy = make(x.spec(), Fill::normal(0.2), 2);
      const Tensor gamma = make({DType::fp32, {c.channels}}, Fill::uniform(0.5, 2), 3),
                   beta = make({DType::fp32, {c.channels}}, Fill::normal(), 4);
      const Tensor running_mean = make({DType::fp32, {c.channels}}, Fill::normal(c.mean), 5),
                   running_variance = make({DType::fp32, {c.channels}}, Fill::uniform(0.5, 2), 6);
      check_devices(*batch_norm_statistics(), {x});
      const Tensor partials = run(*batch_norm_statistics(), {x}, kReference)[0];
      check_devices(*batch_norm_finalize({}, c.pixels), {partials, running_mean, running_variance});
      check_devices(*batch_norm_inference({}), {running_mean, running_variance});
      const auto m = moments(x);
      check_devices(*batch_norm_apply(true), {x, m[0], m[1], gamma, beta});
      check_devices(*batch_norm_reduce(), {x, dy, m[0], m[1]});
      const auto sums = run(*batch_norm_reduce(), {x, dy, m[0], m[1]}, kReference);
      check_devices(*batch_norm_input_gradient(true), {x, dy, m[0], m[1], gamma, sums[0], sums[1]});
      check_devices(*batch_norm_input_gradient(false), {x, dy, m[0], m[1], gamma});
      const Tensor residual = make(x.spec(), Fill::normal(), 7);
      check_devices(*batch_norm_apply(true, {Activation::relu}), {x, m[0], m[1], gamma, beta});
      check_devices(*batch_norm_apply(true, {Activation::none, true}), {x, m[0], m[1], gamma, beta, residual});
      check_devices(*batch_norm_apply(true, {Activation::relu, true}), {x, m[0], m[1], gamma, beta, residual});
      const Tensor mask = run(*batch_norm_apply(true, {Activation::relu, true}), {x, m[0], m[1], gamma, beta, residual}, kReference)[1];
      check_devices(*batch_norm_reduce({Activation::relu}), {x, dy, m[0], m[1], gamma, beta});
      check_devices(*batch_norm_reduce({Activation::relu, true}), {x, dy, m[0], m[1], mask});
      check_devices(*batch_norm_input_gradient(true, Activation::relu), {x, dy, m[0], m[1], gamma, sums[0], sums[1], beta});
      check_devices(*batch_norm_input_gradient(false, Activation::relu), {x, dy, m[0], m[1], gamma, beta});
    }
}

/// On a card of one multiprocessor a thread of the elementwise passes has many pixels, four of them in flight.
TEST(BatchNorm, ManyPixelsAThread) {
  for (const DType dtype : kFloatTypes)
    for (const std::int64_t channels : {264, 33}) {
      const Tensor x = make({dtype, {700, channels}}, Fill::normal(0.3, 1.7), 1), dy = make(x.spec(), Fill::normal(), 2),
                   residual = make(x.spec(), Fill::normal(), 3);
      const Tensor gamma = make({DType::fp32, {channels}}, Fill::normal(1), 4), beta = make({DType::fp32, {channels}}, Fill::normal(), 5);
      const auto m = moments(x);
      const auto sums = run(*batch_norm_reduce(), {x, dy, m[0], m[1]}, kReference);
      const std::vector<std::pair<OperationPtr, std::vector<Tensor>>> operations{
          {batch_norm_apply(true), {x, m[0], m[1], gamma, beta}},
          {batch_norm_apply(true, {Activation::relu, true}), {x, m[0], m[1], gamma, beta, residual}},
          {batch_norm_input_gradient(true), {x, dy, m[0], m[1], gamma, sums[0], sums[1]}},
          {batch_norm_input_gradient(true, Activation::relu), {x, dy, m[0], m[1], gamma, sums[0], sums[1], beta}}};
      for (const Device device : devices()) {
        if (device.kind == DeviceKind::cpu || !why_absent(device).empty()) continue;
        Context context = make_context(device);
        DeviceProfile small = *context.stream.profile;
        small.multiprocessors = 1;
        context.stream.profile = &small;
        for (const auto& [operation, inputs] : operations) {
          SCOPED_TRACE(text(name(device), " ", x.spec(), " ", operation->name(), " ", operation->details()));
          std::vector<Tensor> there;
          for (const Tensor& input : inputs) there.push_back(copy_to(*context.backend, input, cpu_backend()));
          EXPECT_TRUE(meets_tolerance(*operation, inputs, run(*operation, there, context)));
        }
      }
    }
}

/// The variance of values far from zero, tile by tile, to 1e-5 of itself; one value far from the others is no trap either.
TEST(BatchNorm, LargeMeansDoNotCancel) {
  for (const double mean : {0.0, 1e3, 1e5})
    for (const bool outlier : {false, true}) {
      const Tensor x = make({DType::fp32, {500, 8}}, Fill::normal(mean, 1), 9);
      if (outlier) x.as<float>()[0] = static_cast<float>(mean + 3000);
      const auto want = numbers(run(*batch_norm_statistics(), {x}, kReference)[0]);
      const auto wanted_std = numbers(moments(x)[1]);
      for (const Device device : devices()) {
        if (!why_absent(device).empty()) continue;
        SCOPED_TRACE(text(name(device), " mean ", mean, " outlier ", outlier));
        const Tensor partials = run_on(device, *batch_norm_statistics(), {x})[0];
        const auto got = numbers(partials);
        for (std::size_t i = 0; i < got.size(); ++i) {
          const bool is_mean = i / 8 % 2 == 0;
          ASSERT_NEAR(got[i], want[i], is_mean ? 3e-7 * (mean + (outlier ? 3000 : 100)) : 1e-5 * want[i] + 1e-9) << "element " << i;
        }
        const auto running = zeros_and_ones(8);
        const auto std = numbers(run_on(device, *batch_norm_finalize({}, 500), {partials, running[0], running[1]})[1]);
        for (std::size_t c = 0; c < 8; ++c) ASSERT_NEAR(std[c], wanted_std[c], 1e-5 * wanted_std[c]);
      }
    }
}

/// Merging: tiles of any number, the last one short, others empty.
TEST(BatchNorm, FinalizeMergesUnevenTiles) {
  for (const std::int64_t tiles : {1, 3, 31, 32, 33, 70}) {
    SCOPED_TRACE(tiles);
    const Tensor partials = make({DType::fp32, {tiles, 2, 9}}, Fill::uniform(1, 3), 11);
    const auto running = zeros_and_ones(9);
    for (const std::int64_t pixels : {tiles, 2 * tiles - 1, 3 * tiles + 1, 128 * tiles})
      check_devices(*batch_norm_finalize({}, pixels), {partials, running[0], running[1]});
  }
}

/// Tiles of a given size, as conv2d cuts them, few or so many that they are merged in groups first.
TEST(BatchNorm, FinalizeTakesTilesOf128) {
  const auto running = zeros_and_ones(5);
  const Tensor x = make({DType::fp32, {300, 5}}, Fill::normal(3, 2), 21);  // 128 + 128 + 44
  std::vector<double> partials;
  for (std::int64_t first = 0; first < 300; first += 128) {
    const Tensor tile = run(*batch_norm_statistics(), {x.slice(first, std::min<std::int64_t>(128, 300 - first))}, kReference)[0];
    for (const double v : numbers(tile)) partials.push_back(v);
  }
  const Tensor tiles = values(DType::fp32, {3, 2, 5}, partials);
  const auto merged = run(*batch_norm_finalize({}, 300, 128), {tiles, running[0], running[1]}, kReference), whole = moments(x);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(close(merged[i], whole[i], 1e-6, 1e-6));
  check_devices(*batch_norm_finalize({}, 300, 128), {tiles, running[0], running[1]});
  const Tensor many = make({DType::fp32, {1030, 2, 9}}, Fill::uniform(1, 3), 22);
  const auto nine = zeros_and_ones(9);
  check_devices(*batch_norm_finalize({}, 1029 * 128 + 7, 128), {many, nine[0], nine[1]});
  EXPECT_THROW(batch_norm_finalize({}, 400, 128)->outputs(std::vector<TensorSpec>{tiles.spec(), running[0].spec(), running[1].spec()}),
               Error);
}

TEST(BatchNorm, NonFiniteChannelsAreSeenAndAlone) {
  const Tensor x = make({DType::fp32, {200, 4}}, Fill::normal(), 12);
  x.as<float>()[4 * 130 + 1] = std::numeric_limits<float>::quiet_NaN();
  x.as<float>()[2] = std::numeric_limits<float>::infinity();
  const auto running = zeros_and_ones(4);
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    SCOPED_TRACE(name(device));
    const Tensor partials = run_on(device, *batch_norm_statistics(), {x})[0];
    const auto std = numbers(run_on(device, *batch_norm_finalize({}, 200), {partials, running[0], running[1]})[1]);
    EXPECT_TRUE(std::isfinite(std[0]) && std::isfinite(std[3]));
    EXPECT_TRUE(std::isnan(std[1]) && !(std[2] > 0));
  }
}

TEST(BatchNorm, OneValueAChannelGivesBeta) {
  const Tensor x = values(DType::fp32, {1, 2}, {3, -4});
  const auto m = moments(x);
  EXPECT_TRUE(close(m[3], values(DType::fp32, {2}, {0.9, 0.9}), 1e-6));  // no spread to be unbiased about
  const Tensor y =
      run(*batch_norm_apply(true), {x, m[0], m[1], values(DType::fp32, {2}, {2, 2}), values(DType::fp32, {2}, {5, 6})}, kReference)[0];
  EXPECT_TRUE(close(y, values(DType::fp32, {1, 2}, {5, 6}), 0));
}

TEST(BatchNorm, Rejects) {
  const TensorSpec x{DType::fp32, {4, 2}}, c{DType::fp32, {2}}, wrong{DType::fp32, {3}};
  EXPECT_THROW(batch_norm_statistics()->outputs(std::vector<TensorSpec>{{DType::uint8, {4, 2}}}), Error);
  EXPECT_THROW(batch_norm_finalize({.epsilon = 0}, 4), Error);
  EXPECT_THROW(batch_norm_finalize({.momentum = 2}, 4), Error);
  EXPECT_THROW(batch_norm_finalize({}, 4)->outputs(std::vector<TensorSpec>{{DType::fp32, {5, 2, 2}}, c, c}), Error);
  EXPECT_THROW(batch_norm_apply(true)->outputs(std::vector<TensorSpec>{x, c, c, wrong, c}), Error);
  EXPECT_THROW(batch_norm_reduce()->outputs(std::vector<TensorSpec>{x, c, c, c}), Error);
  EXPECT_THROW(batch_norm_input_gradient(true)->outputs(std::vector<TensorSpec>{x, x, c, c, c}), Error);
  EXPECT_THROW(batch_norm_apply(true, {Activation::gelu}), Error);
  EXPECT_THROW(batch_norm_apply(true, {Activation::relu, true})->outputs(std::vector<TensorSpec>{x, c, c, c, c}), Error);
  EXPECT_THROW(batch_norm_apply(true, {Activation::relu, true})->outputs(std::vector<TensorSpec>{x, c, c, c, c, c}), Error);
  EXPECT_THROW(batch_norm_reduce({Activation::relu, true})->outputs(std::vector<TensorSpec>{x, x, c, c, {DType::uint8, {4, 2}}}), Error);
  EXPECT_THROW(batch_norm_input_gradient(true, Activation::relu)->outputs(std::vector<TensorSpec>{x, x, c, c, c, c, c}), Error);
  EXPECT_THROW(batch_norm_inference({})->outputs(std::vector<TensorSpec>{c, wrong}), Error);
}

}  // namespace
}  // namespace epitaxy::test
