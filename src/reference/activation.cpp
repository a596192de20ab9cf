// Activations in double.
#include "kernels/activation.h"

#include <cmath>
#include <numbers>

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

double value(Activation kind, double x, double slope) {
  switch (kind) {
    case Activation::none: return x;
    case Activation::relu: return x > 0 || std::isnan(x) ? x : 0.0;
    case Activation::leaky_relu: return x > 0 ? x : slope * x;
    case Activation::sigmoid: return 1.0 / (1.0 + std::exp(-x));
    case Activation::tanh: return std::tanh(x);
    case Activation::gelu: return x * normal_cdf(x);
  }
  return 0;
}

/// dy/dx from the saved value s: x for gelu, y for the others.
double slope_at(Activation kind, double s, double slope) {
  switch (kind) {
    case Activation::none: return 1.0;
    case Activation::relu: return s > 0 ? 1.0 : 0.0;
    case Activation::leaky_relu: return s > 0 ? 1.0 : slope;
    case Activation::sigmoid: return s * (1.0 - s);
    case Activation::tanh: return 1.0 - s * s;
    case Activation::gelu: return normal_cdf(s) + s * std::exp(-0.5 * s * s) / std::sqrt(2.0 * std::numbers::pi);
  }
  return 0;
}

}  // namespace

template <>
void activation_forward<Reference>(const ActivationArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    T* y = static_cast<T*>(args.y);
    for (std::int64_t i = 0; i < args.count; ++i) y[i] = round<T>(static_cast<float>(value(args.kind, to_float(x[i]), args.slope)));
  });
}

template <>
void activation_backward<Reference>(const ActivationArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* saved = static_cast<const T*>(args.x);
    const T* dy = static_cast<const T*>(args.dy);
    T* dx = static_cast<T*>(args.y);
    for (std::int64_t i = 0; i < args.count; ++i) {
      const double slope = slope_at(args.kind, to_float(saved[i]), args.slope);
      const bool closed = args.kind == Activation::relu && slope == 0;  // 0 whatever dy is
      dx[i] = round<T>(static_cast<float>(closed ? 0.0 : to_float(dy[i]) * slope));
    }
  });
}

}  // namespace epitaxy
