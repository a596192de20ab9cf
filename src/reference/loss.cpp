// Losses and accuracy in double.
#include "kernels/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

double element(ElementLoss kind, double y, double t, double delta, double& derivative) {
  const double d = y - t, sign = d > 0 ? 1.0 : d < 0 ? -1.0 : d;
  switch (kind) {
    case ElementLoss::squared: derivative = 2 * d; return d * d;
    case ElementLoss::absolute: derivative = sign; return std::fabs(d);
    case ElementLoss::huber:
      derivative = std::fabs(d) <= delta ? d : delta * sign;
      return std::fabs(d) <= delta ? 0.5 * d * d : delta * (std::fabs(d) - 0.5 * delta);
    case ElementLoss::binary_cross_entropy:
      derivative = 1.0 / (1.0 + std::exp(-y)) - t;
      return (y < 0 ? 0.0 : y) - y * t + std::log1p(std::exp(-std::fabs(y)));
  }
  return 0;
}

}  // namespace

template <>
void element_loss<Reference>(const ElementLossArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* y = static_cast<const T*>(args.y);
    T* gradient = static_cast<T*>(args.gradient);
    double sum = 0;
    for (std::int64_t i = 0; i < args.count; ++i) {
      double derivative = 0;
      sum += element(args.kind, to_float(y[i]), args.target[i], args.delta, derivative);
      gradient[i] = round<T>(static_cast<float>(derivative / static_cast<double>(args.count)));
    }
    *args.loss = static_cast<float>(sum / static_cast<double>(args.count));
  });
}

template <>
void softmax_cross_entropy<Reference>(const CrossEntropyArgs& args, Stream) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto known = [&](std::int64_t n) { return args.target[n] >= 0 && args.target[n] < args.classes; };
  const auto weight = [&](std::int64_t c) { return args.weights ? static_cast<double>(args.weights[c]) : 1.0; };
  double weight_sum = 0, total = 0;
  const auto ignored = [&](std::int64_t n) { return args.target[n] == kIgnoredTarget; };
  for (std::int64_t n = 0; n < args.rows; ++n)
    if (!ignored(n)) weight_sum += !args.weights ? 1.0 : known(n) ? weight(args.target[n]) : kNan;
  with_float(args.dtype, [&]<class T>() {
    for (std::int64_t n = 0; n < args.rows; ++n) {
      const T* x = static_cast<const T*>(args.logits) + n * args.classes;
      T* gradient = static_cast<T*>(args.gradient) + n * args.classes;
      if (ignored(n) || weight_sum == 0) {
        std::fill_n(gradient, args.classes, round<T>(0.0f));
        continue;
      }
      double maximum = -std::numeric_limits<double>::infinity(), sum = 0, distribution = 0;
      for (std::int64_t c = 0; c < args.classes; ++c) maximum = to_float(x[c]) > maximum ? to_float(x[c]) : maximum;
      for (std::int64_t c = 0; c < args.classes; ++c) sum += std::exp(to_float(x[c]) - maximum);
      // q[c]: the target distribution times class c's weight
      const auto q = [&](std::int64_t c) {
        if (!known(n)) return kNan;
        return weight(c) * ((c == args.target[n] ? 1.0 - args.smoothing : 0.0) + args.smoothing / static_cast<double>(args.classes));
      };
      for (std::int64_t c = 0; c < args.classes; ++c) {
        distribution += q(c);
        if (q(c) != 0) total -= q(c) * (to_float(x[c]) - maximum - std::log(sum));
      }
      for (std::int64_t c = 0; c < args.classes; ++c)
        gradient[c] = round<T>(static_cast<float>((std::exp(to_float(x[c]) - maximum) / sum * distribution - q(c)) / weight_sum));
    }
  });
  *args.loss = static_cast<float>(weight_sum == 0 ? 0.0 : total / weight_sum);
}

template <>
void accuracy<Reference>(const AccuracyArgs& args, Stream) {
  std::int64_t hits = 0, counted = 0;
  with_float(args.dtype, [&]<class T>() {
    for (std::int64_t n = 0; n < args.rows; ++n) {
      const T* x = static_cast<const T*>(args.logits) + n * args.classes;
      if (args.target[n] == kIgnoredTarget) continue;
      ++counted;
      std::int64_t first = 0;
      bool numbers = true;
      for (std::int64_t c = 0; c < args.classes; ++c) {
        if (to_float(x[c]) > to_float(x[first])) first = c;
        numbers &= !std::isnan(to_float(x[c]));
      }
      hits += numbers && first == args.target[n];
    }
  });
  *args.accuracy = counted ? static_cast<float>(static_cast<double>(hits) / static_cast<double>(counted)) : 0.0f;
}

}  // namespace epitaxy
