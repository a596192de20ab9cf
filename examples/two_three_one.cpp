// The smallest network worth the name: 2 inputs, 3 hidden ReLU units, 1 output, trained by gradient descent on the mean squared error until
// the loss passes a threshold. Every step is checked: the first two against numbers computed by hand, all against plain formulas below.
// The same from the command line: epitaxy train --config examples/two_three_one.yaml --data examples/two_three_one.csv
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "epitaxy/plan/compiled_model.h"

namespace {

constexpr double kRate = 0.125, kThreshold = 1e-6;
constexpr int kMostSteps = 2000;
constexpr std::array<float, 4> kInputs{1, 2, 2, -1};  // two points
constexpr std::array<float, 2> kTargets{0.25f, 0.625f};

/// The network as plain numbers: hidden weights and biases, output weights and bias.
struct Numbers {
  std::array<std::array<double, 2>, 3> w{{{0.5, 0.25}, {-0.5, 0.5}, {0.25, -0.5}}};
  std::array<double, 3> b{0, 0, 0}, v{0.5, 1, -1};
  double c = 0.25;

  /// One step of gradient descent; answers the loss before it.
  double step() {
    Numbers next = *this;
    double loss = 0;
    for (std::size_t i = 0; i < 2; ++i) {
      const double x0 = kInputs[2 * i], x1 = kInputs[2 * i + 1];
      std::array<double, 3> h{};
      double y = c;
      for (std::size_t j = 0; j < 3; ++j) {
        h[j] = std::fmax(0.0, w[j][0] * x0 + w[j][1] * x1 + b[j]);
        y += v[j] * h[j];
      }
      const double error = y - kTargets[i];
      loss += error * error / 2;  // the mean over two points
      const double dy = error;    // 2 * error / 2
      for (std::size_t j = 0; j < 3; ++j) {
        const double dh = h[j] > 0 ? dy * v[j] : 0;
        next.v[j] -= kRate * dy * h[j];
        next.w[j][0] -= kRate * dh * x0;
        next.w[j][1] -= kRate * dh * x1;
        next.b[j] -= kRate * dh;
      }
      next.c -= kRate * dy;
    }
    *this = next;
    return loss;
  }

  /// In the order of the model's arrays: dense1.weight [3,2], dense1.bias [3], dense2.weight [1,3], dense2.bias [1].
  std::vector<double> flat() const { return {w[0][0], w[0][1], w[1][0], w[1][1], w[2][0], w[2][1], b[0], b[1], b[2], v[0], v[1], v[2], c}; }
};

/// Computed by hand for the start above: the first step's loss is (1 + 1) / 2 with gradients
/// dW = [[-0.5, 1.5], [1, 2], [2, -1]], db = [0, 1, 1], dv = [0.25, 0.5, -1], dc = 0.
constexpr double kFirstLoss = 1.0;
constexpr std::array<double, 13> kAfterFirst{0.5625, 0.0625, -0.625, 0.25, 0, -0.375, 0, -0.125, -0.125, 0.46875, 0.9375, -0.875, 0.25};
/// Outputs 0.572265625 and 0.529296875, errors 0.322265625 and -0.095703125.
constexpr double kSecondLoss = (0.322265625 * 0.322265625 + 0.095703125 * 0.095703125) / 2;

void demand(bool condition, const char* what, int step, double got, double want) {
  if (condition) return;
  std::printf("step %d: %s is %.9g, expected %.9g\n", step, what, got, want);
  std::exit(1);
}

std::vector<double> flat(const std::vector<epitaxy::NamedTensor>& weights) {
  std::vector<double> all;
  for (const auto& [name, tensor] : weights)
    for (const float value : tensor.span<float>()) all.push_back(value);
  return all;
}

void start_from(epitaxy::CompiledModel& model, const Numbers& numbers) {
  auto weights = model.weights();
  const auto values = numbers.flat();
  std::size_t next = 0;
  for (auto& [name, tensor] : weights)
    for (float& value : tensor.span<float>()) value = static_cast<float>(values[next++]);
  model.set_weights(weights);
}

}  // namespace

int main() {
  using namespace epitaxy;
  CompileOptions options;
  options.loss = LossKind::mean_squared_error;
  options.optimizer.kind = OptimizerKind::sgd;
  options.optimizer.momentum = 0;
  CompiledModel model(mlp({2}, 1, {3}), options);
  Numbers numbers;
  start_from(model, numbers);
  Tensor x(cpu_backend(), {DType::fp32, {2, 2}}), t(cpu_backend(), {DType::fp32, {2, 1}});
  std::memcpy(x.data(), kInputs.data(), x.bytes());
  std::memcpy(t.data(), kTargets.data(), t.bytes());

  for (int step = 1; step <= kMostSteps; ++step) {
    model.train_step(x, t, static_cast<float>(kRate));
    const double loss = model.take_metrics().at(0).loss, plain = numbers.step();
    demand(std::fabs(loss - plain) <= 1e-6 + 1e-4 * plain, "the loss", step, loss, plain);
    const auto got = flat(model.weights()), want = numbers.flat();
    for (std::size_t i = 0; i < want.size(); ++i) demand(std::fabs(got[i] - want[i]) <= 1e-5, "a weight", step, got[i], want[i]);
    if (step == 1) {
      demand(loss == kFirstLoss, "the loss by hand", step, loss, kFirstLoss);  // all numbers are exact in fp32
      for (std::size_t i = 0; i < kAfterFirst.size(); ++i)
        demand(got[i] == kAfterFirst[i], "a weight by hand", step, got[i], kAfterFirst[i]);
    }
    if (step == 2) demand(std::fabs(loss - kSecondLoss) <= 1e-7, "the loss by hand", step, loss, kSecondLoss);
    if (step <= 3 || step % 20 == 0) std::printf("step %4d  loss %.9f\n", step, loss);
    if (loss < kThreshold) {
      std::printf("step %4d  loss %.3g is below %.3g; every step agreed with the plain formulas\n", step, loss, kThreshold);
      return 0;
    }
  }
  std::printf("the loss did not pass %.3g in %d steps\n", kThreshold, kMostSteps);
  return 1;
}
