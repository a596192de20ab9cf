// Convolution and its gradients as plain loops in double, written from the definition.
#include "kernels/conv2d.h"

#include <algorithm>
#include <cmath>

#include "epitaxy/dtype_switch.h"
#include "kernels/batch_norm.h"

namespace epitaxy {

namespace {

/// Where position `at` of the padded axis lies in the image: an index, or -1 for a padding zero.
std::int64_t image_index(std::int64_t at, std::int64_t size, PaddingMode mode) {
  if (at >= 0 && at < size) return at;
  return mode == PaddingMode::zeros ? -1 : ((at % size) + size) % size;
}

/// The rows (axis 0) and columns (axis 1) that tap `tap` of output `out` reads.
std::int64_t read_index(const Conv2dProblem& d, int axis, std::int64_t out, std::int64_t tap) {
  const auto a = static_cast<std::size_t>(axis);
  return image_index(out * d.stride[a] - d.padding[2 * a] + tap * d.dilation[a], axis == 0 ? d.h : d.w, d.padding_mode[a]);
}

template <class T>
double factor(const Conv2dProblem& d, const T& x) {
  return d.tf32 ? round_tf32(to_float(x)) : to_float(x);
}

/// Channel c of a pixel of one image, or of two whose channels lie side by side.
template <class T>
T& element(const Conv2dProblem& d, T* first, T* second, std::int64_t pixel, std::int64_t c) {
  return c < d.first() ? first[pixel * d.first() + c] : second[pixel * d.second + c - d.first()];
}

template <class T>
void forward(const Conv2dArgs& args) {
  const Conv2dProblem& d = args.problem;
  const T *x = static_cast<const T*>(args.x), *x2 = static_cast<const T*>(args.x2), *filter = static_cast<const T*>(args.filter);
  T* y = static_cast<T*>(args.result);
  const std::int64_t inputs = d.group_inputs(), outputs = d.group_outputs();
  for (std::int64_t n = 0; n < d.n; ++n)
    for (std::int64_t p = 0; p < d.p; ++p)
      for (std::int64_t q = 0; q < d.q; ++q)
        for (std::int64_t k = 0; k < d.k; ++k) {
          double sum = 0;
          for (std::int64_t r = 0; r < d.r; ++r)
            for (std::int64_t s = 0; s < d.s; ++s) {
              const std::int64_t h = read_index(d, 0, p, r), w = read_index(d, 1, q, s);
              if (h < 0 || w < 0) continue;
              const std::int64_t pixel = (n * d.h + h) * d.w + w, first = k / outputs * inputs;
              const T* tap = filter + ((k * d.r + r) * d.s + s) * inputs;
              for (std::int64_t c = 0; c < inputs; ++c) sum += factor(d, element(d, x, x2, pixel, first + c)) * factor(d, tap[c]);
            }
          if (d.bias) sum += args.bias[k];
          if (d.residual) sum += to_float(static_cast<const T*>(args.residual)[((n * d.p + p) * d.q + q) * d.k + k]);
          if (d.activation == Activation::relu && sum <= 0) sum = 0;
          y[((n * d.p + p) * d.q + q) * d.k + k] = round<T>(static_cast<float>(sum));
        }
}

template <class T>
void statistics(const Conv2dArgs& args) {
  const Conv2dProblem& d = args.problem;
  const T* y = static_cast<const T*>(args.result);
  for (std::int64_t tile = 0; tile < d.statistics_tiles(d.output_pixels()); ++tile) {
    const std::int64_t begin = tile * kConv2dStatisticsPixels, end = std::min(begin + kConv2dStatisticsPixels, d.output_pixels());
    for (std::int64_t k = 0; k < d.k; ++k) {
      double sum = 0, squares = 0;
      for (std::int64_t pixel = begin; pixel < end; ++pixel) sum += to_float(y[pixel * d.k + k]);
      const double mean = sum / static_cast<double>(end - begin);
      for (std::int64_t pixel = begin; pixel < end; ++pixel) squares += std::pow(to_float(y[pixel * d.k + k]) - mean, 2);
      args.statistics[2 * tile * d.k + k] = static_cast<float>(mean);
      args.statistics[(2 * tile + 1) * d.k + k] = static_cast<float>(squares);
    }
  }
}

/// Whether the ReLU that x came from was open.
template <class T>
bool is_open(const Conv2dArgs& args, std::int64_t pixel, std::int64_t c) {
  const std::int64_t channels = args.problem.c, at = pixel * channels + c;
  switch (args.problem.mask) {
    case ReluMask::none: break;
    case ReluMask::output: return to_float(static_cast<const T*>(args.mask)[at]) > 0;
    case ReluMask::bits: return static_cast<const std::uint8_t*>(args.mask)[pixel * mask_bytes(channels) + c / 8] >> c % 8 & 1;
    case ReluMask::recomputed:
      return rounds_above_zero<T>(batch_norm_value(to_float(static_cast<const T*>(args.normalised)[at]), args.mean[c],
                                                   args.inverse_std[c] * args.gamma[c], args.beta[c]));
  }
  return true;
}

/// Sums of the stored gradient for batch normalisation's backward pass.
template <class T>
void reductions(const Conv2dArgs& args) {
  const Conv2dProblem& d = args.problem;
  const T *dx = static_cast<const T*>(args.result), *v = static_cast<const T*>(args.normalised);
  for (std::int64_t tile = 0; tile < d.statistics_tiles(d.image_pixels()); ++tile) {
    const std::int64_t begin = tile * kConv2dStatisticsPixels, end = std::min(begin + kConv2dStatisticsPixels, d.image_pixels());
    for (std::int64_t c = 0; c < d.c; ++c) {
      double dgamma = 0, dbeta = 0;
      for (std::int64_t at = begin * d.c + c; at < end * d.c; at += d.c) {
        dgamma += to_float(dx[at]) * (static_cast<double>(to_float(v[at])) - args.mean[c]) * args.inverse_std[c];
        dbeta += to_float(dx[at]);
      }
      args.statistics[2 * tile * d.c + c] = static_cast<float>(dgamma);
      args.statistics[(2 * tile + 1) * d.c + c] = static_cast<float>(dbeta);
    }
  }
}

template <class T>
void input_gradient(const Conv2dArgs& args) {
  const Conv2dProblem& d = args.problem;
  const T *dy = static_cast<const T*>(args.dy), *filter = static_cast<const T*>(args.filter);
  T *dx = static_cast<T*>(args.result), *dx2 = static_cast<T*>(args.result2);
  const std::int64_t inputs = d.group_inputs(), outputs = d.group_outputs();
  for (std::int64_t n = 0; n < d.n; ++n)
    for (std::int64_t h = 0; h < d.h; ++h)
      for (std::int64_t w = 0; w < d.w; ++w)
        for (std::int64_t c = 0; c < d.c; ++c) {
          const std::int64_t first = c / inputs * outputs;  // of the outputs that read channel c
          double sum = 0;
          for (std::int64_t r = 0; r < d.r; ++r)
            for (std::int64_t p = 0; p < d.p; ++p) {
              if (read_index(d, 0, p, r) != h) continue;
              for (std::int64_t s = 0; s < d.s; ++s)
                for (std::int64_t q = 0; q < d.q; ++q) {
                  if (read_index(d, 1, q, s) != w) continue;
                  const T* pixel = dy + ((n * d.p + p) * d.q + q) * d.k;
                  for (std::int64_t k = first; k < first + outputs; ++k)
                    sum += factor(d, pixel[k]) * factor(d, filter[((k * d.r + r) * d.s + s) * inputs + c % inputs]);
                }
            }
          const std::int64_t pixel = (n * d.h + h) * d.w + w;
          if (d.residual) sum += to_float(static_cast<const T*>(args.residual)[pixel * d.c + c]);
          if (!is_open<T>(args, pixel, c)) sum = 0;
          element(d, dx, dx2, pixel, c) = round<T>(static_cast<float>(sum));
        }
}

template <class T>
void filter_gradient(const Conv2dArgs& args) {
  const Conv2dProblem& d = args.problem;
  const T *x = static_cast<const T*>(args.x), *x2 = static_cast<const T*>(args.x2), *dy = static_cast<const T*>(args.dy);
  float* dw = static_cast<float*>(args.result);
  const std::int64_t inputs = d.group_inputs(), outputs = d.group_outputs();
  for (std::int64_t k = 0; k < d.k; ++k)
    for (std::int64_t r = 0; r < d.r; ++r)
      for (std::int64_t s = 0; s < d.s; ++s)
        for (std::int64_t c = 0; c < inputs; ++c) {
          double sum = 0;
          for (std::int64_t n = 0; n < d.n; ++n)
            for (std::int64_t p = 0; p < d.p; ++p)
              for (std::int64_t q = 0; q < d.q; ++q) {
                const std::int64_t h = read_index(d, 0, p, r), w = read_index(d, 1, q, s);
                if (h < 0 || w < 0) continue;
                sum += factor(d, dy[((n * d.p + p) * d.q + q) * d.k + k]) *
                       factor(d, element(d, x, x2, (n * d.h + h) * d.w + w, k / outputs * inputs + c));
              }
          dw[((k * d.r + r) * d.s + s) * inputs + c] = static_cast<float>(sum);
        }
}

}  // namespace

template <>
void conv2d<Reference>(const Conv2dArgs& args, Stream) {
  with_float(args.problem.dtype, [&]<class T>() {
    switch (args.pass) {
      case Conv2dPass::forward:
        forward<T>(args);
        if (args.problem.statistics) statistics<T>(args);
        return;
      case Conv2dPass::input_gradient:
        input_gradient<T>(args);
        if (args.problem.statistics) reductions<T>(args);
        return;
      case Conv2dPass::filter_gradient: return filter_gradient<T>(args);
    }
  });
}

}  // namespace epitaxy
