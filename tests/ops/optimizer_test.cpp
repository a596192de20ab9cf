// Optimizers: steps computed by hand, PyTorch's formulas written out, every device against the reference.
#include "epitaxy/ops/optimizer.h"

#include <cmath>
#include <limits>

#include "kernels/optimizer.h"
#include "tests/cases/optimizer.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

const Context kReference{&cpu_backend(), {}, true};

Tensor scalar(double value) { return values(DType::fp32, {1}, {value}); }
Tensor step(std::int64_t value) { return values(DType::int64, {1}, {static_cast<double>(value)}); }

/// Every context that exists here, the reference first.
std::vector<std::pair<std::string, Context>> contexts() {
  std::vector<std::pair<std::string, Context>> result{{"reference", kReference}};
  for (const Device device : devices())
    if (why_absent(device).empty()) result.emplace_back(name(device), make_context(device));
  return result;
}

/// Runs on CPU tensors wherever the context is.
std::vector<Tensor> step_on(const Context& context, const Operation& operation, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> there, back;
  for (const auto& input : inputs) there.push_back(copy_to(*context.backend, input, cpu_backend()));
  for (const auto& output : run(operation, there, context)) back.push_back(copy_to(cpu_backend(), output, *context.backend));
  return back;
}

TEST(Sgd, ThreeStepsByHand) {
  // One parameter at 1, gradients 1, 2, -1, lr 0.1, momentum 0.5: v = 1, 2.5, 0.25; p = 0.9, 0.65, 0.625.
  // Nesterov adds g + 0.5 v = 1.5, 3.25, -0.875: p = 0.85, 0.525, 0.6125.
  for (const auto& [where, context] : contexts())
    for (const bool nesterov : {false, true}) {
      SCOPED_TRACE(where);
      Tensor p = scalar(1), v = scalar(0);
      const double velocity[]{1, 2.5, 0.25}, plain[]{0.9, 0.65, 0.625}, ahead[]{0.85, 0.525, 0.6125}, gradient[]{1, 2, -1};
      for (std::size_t t = 0; t < 3; ++t) {
        const auto out =
            step_on(context, *sgd({.momentum = 0.5f, .nesterov = nesterov}), {p, scalar(gradient[t]), v, scalar(0.1), scalar(1)});
        p = out[0], v = out[1];
        EXPECT_TRUE(close(v, scalar(velocity[t]), 1e-6));
        EXPECT_TRUE(close(p, scalar(nesterov ? ahead[t] : plain[t]), 1e-6));
      }
    }
}

TEST(Sgd, DecayStopsAtDecayCountAndScaleMultipliesGradients) {
  // g = 0.5 * 2 (+ 0.1 * 4 for the first): v = 1.4 and 1; p = 4 - v.
  for (const auto& [where, context] : contexts()) {
    SCOPED_TRACE(where);
    const auto out = step_on(
        context, *sgd({.momentum = 0, .weight_decay = 0.1f, .decay_count = 1}),
        {values(DType::fp32, {2}, {4, 4}), values(DType::fp32, {2}, {2, 2}), values(DType::fp32, {2}, {7, 7}), scalar(1), scalar(0.5)});
    EXPECT_TRUE(close(out[0], values(DType::fp32, {2}, {2.6, 3}), 1e-6));
    EXPECT_TRUE(close(out[1], values(DType::fp32, {2}, {1.4, 1}), 1e-6));
  }
}

TEST(Adam, TwoStepsByHand) {
  // beta 0.5 and 0.75, lr 0.1, epsilon 1 (to see it), gradients 2 and 4:
  // t=1: m = 1, v = 1; hats 2 and 4; p = 1 - 0.1 * 2/(2+1).
  // t=2: m = 2.5, v = 4.75; hats 2.5/0.75 and 4.75/0.4375; p -= 0.1 * 3.3333333/(3.2950157+1).
  const OperationPtr operation = adam({.beta1 = 0.5f, .beta2 = 0.75f, .epsilon = 1});
  for (const auto& [where, context] : contexts()) {
    SCOPED_TRACE(where);
    auto out = step_on(context, *operation, {scalar(1), scalar(2), scalar(0), scalar(0), scalar(0.1), scalar(1), step(0)});
    EXPECT_TRUE(close(out[0], scalar(0.93333333), 1e-6));
    EXPECT_TRUE(close(out[1], scalar(1), 1e-6));
    EXPECT_TRUE(close(out[2], scalar(1), 1e-6));
    out = step_on(context, *operation, {out[0], scalar(4), out[1], out[2], scalar(0.1), scalar(1), step(1)});
    EXPECT_TRUE(close(out[0], scalar(0.93333333 - 0.07760906), 1e-6));
    EXPECT_TRUE(close(out[1], scalar(2.5), 1e-6));
    EXPECT_TRUE(close(out[2], scalar(4.75), 1e-6));
  }
}

/// torch.optim.Adam and AdamW as their documentation states them, in double, over 20 steps with the usual options.
TEST(Adam, FollowsPyTorch) {
  constexpr std::int64_t kCount = 7;
  for (const auto& [where, context] : contexts())
    for (const bool decoupled : {false, true}) {
      SCOPED_TRACE(where);
      Tensor p = make({DType::fp32, {kCount}}, Fill::normal(), 1), m = make(p.spec(), Fill::constant(0), 0), v = m;
      auto theta = numbers(p);
      std::vector<double> first(kCount), second(kCount);
      const double lr = 1e-2, beta1 = 0.9f, beta2 = 0.999f, decay = 0.1f;
      for (int t = 1; t <= 20; ++t) {
        const Tensor g = make(p.spec(), Fill::normal(), static_cast<std::uint64_t>(100 + t));
        const auto gradient = numbers(g);
        for (std::size_t i = 0; i < kCount; ++i) {
          double gi = gradient[i];
          const bool decays = i < 4;
          if (decays && !decoupled) gi += decay * theta[i];
          if (decays && decoupled) theta[i] *= 1 - lr * decay;
          first[i] = beta1 * first[i] + (1 - beta1) * gi;
          second[i] = beta2 * second[i] + (1 - beta2) * gi * gi;
          const double denominator = std::sqrt(second[i]) / std::sqrt(1 - std::pow(beta2, t)) + 1e-8;
          theta[i] -= lr / (1 - std::pow(beta1, t)) * first[i] / denominator;
        }
        const auto out = step_on(context, *adam({.weight_decay = 0.1f, .decoupled = decoupled, .decay_count = 4}),
                                 {p, g, m, v, scalar(lr), scalar(1), step(t - 1)});
        p = out[0], m = out[1], v = out[2];
      }
      EXPECT_TRUE(close(p, values(DType::fp32, {kCount}, theta), 2e-6));
      EXPECT_TRUE(close(m, values(DType::fp32, {kCount}, first), 1e-6));
      EXPECT_TRUE(close(v, values(DType::fp32, {kCount}, second), 1e-7));
    }
}

TEST(Optimizer, Devices) {
  for (const std::int64_t count : kOptimizerSizes) {
    const TensorSpec flat{DType::fp32, {count}};
    const Tensor p = make(flat, Fill::normal(), 1), g = make(flat, Fill::normal(0, 0.1), 2), m = make(flat, Fill::normal(0, 0.1), 3),
                 v = make(flat, Fill::uniform(0, 0.01), 4);
    for (const DType copy : {DType::fp32, DType::bf16, DType::fp16})
      for (const bool other : {false, true}) {
        SCOPED_TRACE(text(count, " elements, copy ", name(copy), other ? ", nesterov / decoupled" : ""));
        const std::int64_t decaying = count / 2 + 1;
        check_devices(*sgd({.nesterov = other, .weight_decay = 0.01f, .decay_count = decaying, .copy = copy}),
                      {p, g, m, scalar(0.05), scalar(0.7)});
        check_devices(*adam({.weight_decay = 0.01f, .decoupled = other, .decay_count = decaying, .copy = copy}),
                      {p, g, m, v, scalar(0.003), scalar(0.7), step(other ? 0 : 12345)});
      }
  }
}

/// A first step moves every parameter by the learning rate, whatever the gradient's size: the corrections are exact enough near beta = 1.
TEST(Adam, FirstStepIsTheLearningRate) {
  const Tensor p = make({DType::fp32, {4}}, Fill::constant(0), 0), g = values(DType::fp32, {4}, {1e-3, -10, 1e5, -1e-5});
  for (const auto& [where, context] : contexts()) {
    SCOPED_TRACE(where);
    const auto out = step_on(context, *adam({.beta2 = 0.9999f, .epsilon = 1e-12f}), {p, g, p, p, scalar(0.5), scalar(1), step(0)});
    EXPECT_TRUE(close(out[0], values(DType::fp32, {4}, {-0.5, 0.5, -0.5, 0.5}), 1e-6));
  }
}

TEST(Optimizer, AScaleOfZeroSkipsTheStep) {
  constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
  const Tensor p = values(DType::fp32, {5}, {1, -2, 3, 0.1, 5}), g = values(DType::fp32, {5}, {kInf, kNan, 1, -kInf, 0}),
               m = values(DType::fp32, {5}, {1, 2, 3, 4, 5}), v = values(DType::fp32, {5}, {5, 4, 3, 2, 1});
  for (const auto& [where, context] : contexts()) {
    SCOPED_TRACE(where);
    const auto s = step_on(context, *sgd({.weight_decay = 0.1f, .decay_count = 3, .copy = DType::bf16}), {p, g, m, scalar(0.1), scalar(0)});
    EXPECT_TRUE(same(s[0], p));
    EXPECT_TRUE(same(s[1], m));
    EXPECT_TRUE(same(s[2], values(DType::bf16, {5}, {1, -2, 3, 0.1, 5})));
    const auto a =
        step_on(context, *adam({.weight_decay = 0.1f, .decoupled = true, .decay_count = 3}), {p, g, m, v, scalar(0.1), scalar(0), step(3)});
    EXPECT_TRUE(same(a[0], p));
    EXPECT_TRUE(same(a[1], m));
    EXPECT_TRUE(same(a[2], v));
  }
}

TEST(AdvanceStep, CountsBeyond32Bits) {
  for (const auto& [where, context] : contexts()) {
    const Tensor large(cpu_backend(), {DType::int64, {1}});
    large.as<std::int64_t>()[0] = (std::int64_t{1} << 40) - 1;
    EXPECT_EQ(step_on(context, *advance_step(), {large})[0].as<std::int64_t>()[0], std::int64_t{1} << 40) << where;
  }
}

TEST(ClipByGlobalNorm, HandValues) {
  for (const auto& [where, context] : contexts()) {
    SCOPED_TRACE(where);
    const auto large = step_on(context, *clip_by_global_norm(2), {values(DType::fp32, {2, 2}, {3, 0, 0, -4})});
    EXPECT_TRUE(close(large[0], scalar(5), 1e-6));
    EXPECT_TRUE(close(large[1], scalar(0.4), 1e-6));
    const auto small = step_on(context, *clip_by_global_norm(6), {values(DType::fp32, {2}, {3, -4})});
    EXPECT_TRUE(same(small[1], scalar(1)));
    const auto none = step_on(context, *clip_by_global_norm(1), {values(DType::fp32, {2}, {0, 0})});
    EXPECT_TRUE(same(none[0], scalar(0)));
    EXPECT_TRUE(same(none[1], scalar(1)));
    const auto huge = step_on(context, *clip_by_global_norm(1), {values(DType::fp32, {2}, {3e30, -4e30})});
    EXPECT_TRUE(close(huge[0], scalar(5e30), 0, 1e-6));
  }
}

TEST(ClipByGlobalNorm, Devices) {
  for (const std::int64_t count : {std::int64_t{1}, std::int64_t{31}, std::int64_t{33}, kNormChunk - 1, kNormChunk, 5 * kNormChunk + 17}) {
    SCOPED_TRACE(count);
    check_devices(*clip_by_global_norm(1.5f), {make({DType::fp32, {count}}, Fill::normal(0.1), 8)});
  }
}

TEST(Optimizer, Rejects) {
  const TensorSpec p{DType::fp32, {4}}, one{DType::fp32, {1}}, half{DType::bf16, {4}}, other{DType::fp32, {5}}, count{DType::int64, {1}};
  EXPECT_THROW(sgd({.momentum = 1}), Error);
  EXPECT_THROW(sgd({.momentum = 0, .nesterov = true}), Error);
  EXPECT_THROW(sgd({.weight_decay = -1}), Error);
  EXPECT_THROW(sgd({.copy = DType::uint8}), Error);
  EXPECT_THROW(sgd({})->outputs(std::vector<TensorSpec>{p, half, p, one, one}), Error);
  EXPECT_THROW(sgd({})->outputs(std::vector<TensorSpec>{p, p, other, one, one}), Error);
  EXPECT_THROW(sgd({.decay_count = 5})->outputs(std::vector<TensorSpec>{p, p, p, one, one}), Error);
  EXPECT_THROW(adam({.beta2 = 1}), Error);
  EXPECT_THROW(adam({.epsilon = 0}), Error);
  EXPECT_THROW(adam({})->outputs(std::vector<TensorSpec>{p, p, p, p, one, one, one}), Error);
  EXPECT_THROW(adam({})->outputs(std::vector<TensorSpec>{p, p, p, p, one, p, count}), Error);
  EXPECT_THROW(advance_step()->outputs(std::vector<TensorSpec>{one}), Error);
  EXPECT_THROW(clip_by_global_norm(0), Error);
  EXPECT_THROW(clip_by_global_norm(1)->outputs(std::vector<TensorSpec>{half}), Error);
}

}  // namespace
}  // namespace epitaxy::test
