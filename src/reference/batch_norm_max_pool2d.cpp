// Normalisation, ReLU and max pooling in one pass: choices and masks by the fp32 value that every device computes, the rest in double.
#include "kernels/batch_norm_max_pool2d.h"

#include <cmath>
#include <vector>

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

using Args = BatchNormMaxPool2dArgs;

float value_of(const Args& args, float x, std::int64_t c) {
  return batch_norm_value(x, args.mean[c], args.inverse_std[c] * args.gamma[c], args.beta[c]);
}

/// What reaches x's elements through the pooling and the ReLU, rounded to T.
template <class T>
std::vector<double> gradients(const Args& args) {
  const PoolShape& a = args.shape;
  std::vector<double> sums(static_cast<std::size_t>(args.pixels() * a.c));
  for (std::int64_t i = 0; i < a.n * a.p * a.q * a.c; ++i) {
    const std::int64_t c = i % a.c, q = i / a.c % a.q, p = i / a.c / a.q % a.p, n = i / a.c / a.q / a.p;
    const std::int64_t h = a.row_start(p) + args.index[i] / a.s, w = a.column_start(q) + args.index[i] % a.s;
    sums[static_cast<std::size_t>(((n * a.h + h) * a.w + w) * a.c + c)] += to_float(static_cast<const T*>(args.dy)[i]);
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const auto c = static_cast<std::int64_t>(i) % a.c;
    const bool open = rounds_above_zero<T>(value_of(args, to_float(static_cast<const T*>(args.x)[i]), c));
    sums[i] = open ? to_float(round<T>(static_cast<float>(sums[i]))) : 0.0;
  }
  return sums;
}

}  // namespace

template <>
void batch_norm_max_pool2d<Reference>(const Args& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    for (std::int64_t i = 0; i < a.n * a.p * a.q * a.c; ++i) {
      const std::int64_t c = i % a.c, q = i / a.c % a.q, p = i / a.c / a.q % a.p, n = i / a.c / a.q / a.p;
      float best = 0;
      double result = 0;
      int index = -1;
      for (int tap = 0; tap < a.r * a.s; ++tap) {
        const std::int64_t h = a.row_start(p) + tap / a.s, w = a.column_start(q) + tap % a.s;
        if (h < 0 || h >= a.h || w < 0 || w >= a.w) continue;
        const float from = to_float(x[((n * a.h + h) * a.w + w) * a.c + c]);
        float v = value_of(args, from, c);
        if (v <= 0) v = 0;
        if (index >= 0 && !(v > best) && !(std::isnan(v) && !std::isnan(best))) continue;
        best = v;
        index = tap;
        result = (static_cast<double>(from) - args.mean[c]) * args.inverse_std[c] * args.gamma[c] + args.beta[c];
        if (result <= 0) result = 0;
      }
      static_cast<T*>(args.y)[i] = round<T>(static_cast<float>(result));
      args.index[i] = static_cast<std::uint8_t>(index);
    }
  });
}

template <>
void batch_norm_max_pool2d_reduce<Reference>(const Args& args, Stream) {
  const std::int64_t channels = args.shape.c;
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    const auto gradient = gradients<T>(args);
    for (std::int64_t c = 0; c < channels; ++c) {
      double dgamma = 0, dbeta = 0;
      for (std::int64_t i = c; i < args.pixels() * channels; i += channels) {
        const double g = gradient[static_cast<std::size_t>(i)];
        dbeta += g;
        dgamma += g * (static_cast<double>(to_float(x[i])) - args.mean[c]) * args.inverse_std[c];
      }
      args.dgamma[c] = static_cast<float>(dgamma);
      args.dbeta[c] = static_cast<float>(dbeta);
    }
  });
}

template <>
void batch_norm_max_pool2d_input_gradient<Reference>(const Args& args, Stream) {
  const std::int64_t channels = args.shape.c;
  const double pixels = static_cast<double>(args.pixels());
  with_float(args.dtype, [&]<class T>() {
    const auto gradient = gradients<T>(args);
    for (std::int64_t i = 0; i < args.pixels() * channels; ++i) {
      const std::int64_t c = i % channels;
      double g = gradient[static_cast<std::size_t>(i)];
      if (args.dgamma) {
        const double normalised = (static_cast<double>(to_float(static_cast<const T*>(args.x)[i])) - args.mean[c]) * args.inverse_std[c];
        g -= args.dbeta[c] / pixels + normalised * args.dgamma[c] / pixels;
      }
      static_cast<T*>(args.dx)[i] = round<T>(static_cast<float>(g * args.gamma[c] * args.inverse_std[c]));
    }
  });
}

}  // namespace epitaxy
