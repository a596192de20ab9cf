// Batch normalisation in double: means and squared deviations by two passes, sums one after another.
#include "kernels/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "epitaxy/dtype_switch.h"
#include "kernels/reduce.h"

namespace epitaxy {

template <>
void batch_norm_statistics<Reference>(const BatchNormStatisticsArgs& args, Stream) {
  const PixelTiles tiles = pixel_tiles(args.pixels);
  const std::int64_t channels = args.channels;
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    for (std::int64_t t = 0; t < tiles.tiles; ++t) {
      const std::int64_t first = t * tiles.size, last = std::min(args.pixels, first + tiles.size);
      for (std::int64_t c = 0; c < channels; ++c) {
        double sum = 0, squares = 0;
        for (std::int64_t p = first; p < last; ++p) sum += to_float(x[p * channels + c]);
        const double mean = sum / static_cast<double>(last - first);
        for (std::int64_t p = first; p < last; ++p) squares += std::pow(to_float(x[p * channels + c]) - mean, 2);
        args.partials[2 * t * channels + c] = static_cast<float>(mean);
        args.partials[(2 * t + 1) * channels + c] = static_cast<float>(squares);
      }
    }
  });
}

template <>
void batch_norm_finalize<Reference>(const BatchNormFinalizeArgs& args, Stream) {
  const std::int64_t size = args.tile_pixels, channels = args.channels;
  const double pixels = static_cast<double>(args.pixels), momentum = args.momentum;
  for (std::int64_t c = 0; c < channels; ++c) {
    double mean = 0, squares = 0;
    const auto each_tile = [&](auto&& body) {
      for (std::int64_t t = 0; t < args.tiles; ++t) {
        const std::int64_t count = std::clamp<std::int64_t>(args.pixels - t * size, 0, size);
        if (count > 0) body(static_cast<double>(count), args.partials[2 * t * channels + c], args.partials[(2 * t + 1) * channels + c]);
      }
    };
    each_tile([&](double count, double tile_mean, double) { mean += count * tile_mean / pixels; });
    each_tile(
        [&](double count, double tile_mean, double tile_squares) { squares += tile_squares + count * std::pow(tile_mean - mean, 2); });
    const double old_mean = args.old_mean[c], old_variance = args.old_variance[c];
    args.mean[c] = static_cast<float>(mean);
    args.inverse_std[c] = static_cast<float>(1 / std::sqrt(squares / pixels + args.epsilon));
    args.running_mean[c] = static_cast<float>((1 - momentum) * old_mean + momentum * mean);
    args.running_variance[c] = static_cast<float>((1 - momentum) * old_variance + momentum * squares / std::max(1.0, pixels - 1));
  }
}

template <>
void batch_norm_inference<Reference>(const BatchNormInferenceArgs& args, Stream) {
  for (std::int64_t c = 0; c < args.channels; ++c) {
    args.mean[c] = args.running_mean[c];
    args.inverse_std[c] = static_cast<float>(1 / std::sqrt(static_cast<double>(args.running_variance[c]) + args.epsilon));
  }
}

namespace {

/// Where the ReLU is open, from the fp32 value that every device computes: a mask must not depend on the last bit of a double.
template <class T>
bool is_open(float x, float mean, float inverse_std, float gamma, float beta, float residual) {
  return rounds_above_zero<T>(batch_norm_value(x, mean, inverse_std * gamma, beta) + residual);
}

/// dy[i], or 0 where the ReLU was closed.
template <class T>
double masked_gradient(const T* x, const T* dy, std::int64_t i, const BatchNormReduceArgs& args) {
  const std::int64_t c = i % args.channels;
  if (args.mask && !(args.mask[i / args.channels * mask_bytes(args.channels) + c / 8] >> c % 8 & 1)) return 0;
  if (args.beta && !is_open<T>(to_float(x[i]), args.mean[c], args.inverse_std[c], args.gamma[c], args.beta[c], 0)) return 0;
  return to_float(dy[i]);
}

}  // namespace

template <>
void batch_norm_apply<Reference>(const BatchNormApplyArgs& args, Stream) {
  const std::int64_t channels = args.channels;
  if (args.mask) std::fill_n(args.mask, args.pixels * mask_bytes(channels), std::uint8_t{0});
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    const T* residual = static_cast<const T*>(args.residual);
    T* y = static_cast<T*>(args.y);
    for (std::int64_t i = 0; i < args.pixels * channels; ++i) {
      const std::int64_t c = i % channels;
      const float added = residual ? to_float(residual[i]) : 0.0f;
      if (args.mask && is_open<T>(to_float(x[i]), args.mean[c], args.inverse_std[c], args.gamma[c], args.beta[c], added))
        args.mask[i / channels * mask_bytes(channels) + c / 8] |= static_cast<std::uint8_t>(1 << c % 8);
      const double centred = static_cast<double>(to_float(x[i])) - args.mean[c];
      const double value = centred * args.inverse_std[c] * args.gamma[c] + args.beta[c] + added;
      y[i] = round<T>(static_cast<float>(args.relu && value <= 0 ? 0.0 : value));
    }
  });
}

template <>
void batch_norm_reduce<Reference>(const BatchNormReduceArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    const T* dy = static_cast<const T*>(args.dy);
    T* dresidual = static_cast<T*>(args.dresidual);
    for (std::int64_t c = 0; c < args.channels; ++c) {
      double dgamma = 0, dbeta = 0;
      for (std::int64_t p = 0; p < args.pixels; ++p) {
        const std::int64_t i = p * args.channels + c;
        const double gradient = masked_gradient(x, dy, i, args);
        dbeta += gradient;
        dgamma += gradient * (static_cast<double>(to_float(x[i])) - args.mean[c]) * args.inverse_std[c];
        if (dresidual) dresidual[i] = round<T>(static_cast<float>(gradient));
      }
      args.dgamma[c] = static_cast<float>(dgamma);
      args.dbeta[c] = static_cast<float>(dbeta);
    }
  });
}

template <>
void batch_norm_reduce_tiles<Reference>(const BatchNormReduceTilesArgs& args, Stream) {
  for (std::int64_t c = 0; c < args.channels; ++c) {
    double dgamma = 0, dbeta = 0;
    for (std::int64_t t = 0; t < args.tiles; ++t) {
      dgamma += args.partials[2 * t * args.channels + c];
      dbeta += args.partials[(2 * t + 1) * args.channels + c];
    }
    args.dgamma[c] = static_cast<float>(dgamma);
    args.dbeta[c] = static_cast<float>(dbeta);
  }
}

template <>
void batch_norm_input_gradient<Reference>(const BatchNormInputGradientArgs& args, Stream) {
  const double pixels = static_cast<double>(args.pixels);
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    const T* dy = static_cast<const T*>(args.dy);
    T* dx = static_cast<T*>(args.dx);
    for (std::int64_t i = 0; i < args.pixels * args.channels; ++i) {
      const std::int64_t c = i % args.channels;
      double gradient = to_float(dy[i]);
      if (args.beta && !is_open<T>(to_float(x[i]), args.mean[c], args.inverse_std[c], args.gamma[c], args.beta[c], 0)) gradient = 0;
      if (args.training) {
        const double normalised = (static_cast<double>(to_float(x[i])) - args.mean[c]) * args.inverse_std[c];
        gradient -= args.dbeta[c] / pixels + normalised * args.dgamma[c] / pixels;
      }
      dx[i] = round<T>(static_cast<float>(gradient * args.gamma[c] * args.inverse_std[c]));
    }
  });
}

}  // namespace epitaxy
