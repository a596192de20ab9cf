// Optimizer steps in fp32: vectorised, threaded where there are many parameters.
#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

/// Calls body(first, last, decays) on pieces that lie wholly before or after the end of the decaying weights, and keeps the rounded copy,
/// block by block, while the new parameters are in the cache.
template <class Args, class Body>
void for_pieces(const Args& args, Body&& body) {
  constexpr std::int64_t kBlock = 8192;
  parallel_for(args.count, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += kBlock) {
      const std::int64_t last = std::min(end, first + kBlock), border = std::clamp(args.decay_count, first, last);
      if (first < border) body(first, border, true);
      if (border < last) body(border, last, false);
      if (!args.copy) continue;
      with_float(args.copy_dtype, [&]<class T>() {
        T* copy = static_cast<T*>(args.copy);
#pragma GCC ivdep
        for (std::int64_t i = first; i < last; ++i) copy[i] = round<T>(args.new_parameters[i]);
      });
    }
  });
}

/// A skipped step: the state stays.
template <class Args>
void keep(const Args& args, std::initializer_list<std::pair<const float*, float*>> arrays) {
  for (const auto& [from, to] : arrays)
    if (from != to) std::copy_n(from, args.count, to);
  for_pieces(args, [](std::int64_t, std::int64_t, bool) {});
}

}  // namespace

template <>
void sgd<Host>(const SgdArgs& args, Stream) {
  const float rate = *args.learning_rate, scale = *args.gradient_scale, momentum = args.momentum;
  if (scale == 0) return keep(args, {{args.parameters, args.new_parameters}, {args.velocity, args.new_velocity}});
  // direction = ahead * v + now * g: v itself, or one momentum step ahead of it (Nesterov).
  const float ahead = args.nesterov ? momentum : 1.0f, now = args.nesterov ? 1.0f : 0.0f;
  for_pieces(args, [&](std::int64_t first, std::int64_t last, bool decays) {
    const float decay = decays ? args.weight_decay : 0.0f;
    const float *p = args.parameters, *gradients = args.gradients, *velocity = args.velocity;
    float *new_p = args.new_parameters, *new_v = args.new_velocity;
#pragma GCC ivdep
    for (std::int64_t i = first; i < last; ++i) {
      const float g = gradients[i] * scale + decay * p[i], v = momentum * velocity[i] + g;
      new_p[i] = p[i] - rate * (ahead * v + now * g);
      new_v[i] = v;
    }
  });
}

template <>
void adam<Host>(const AdamArgs& args, Stream) {
  const float rate = *args.learning_rate, scale = *args.gradient_scale, beta1 = args.beta1, beta2 = args.beta2, epsilon = args.epsilon;
  if (scale == 0) return keep(args, {{args.parameters, args.new_parameters}, {args.m, args.new_m}, {args.v, args.new_v}});
  const double t = static_cast<double>(*args.step + 1);
  const float step_size = static_cast<float>(rate / -std::expm1(t * std::log(static_cast<double>(beta1))));
  const float correction2 = static_cast<float>(1 / std::sqrt(-std::expm1(t * std::log(static_cast<double>(beta2)))));
  const float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
  for_pieces(args, [&](std::int64_t first, std::int64_t last, bool decays) {
    const float decay = decays && !args.decoupled ? args.weight_decay : 0.0f;
    const float shrink = decays && args.decoupled ? rate * args.weight_decay : 0.0f;
    const float *parameters = args.parameters, *gradients = args.gradients, *old_m = args.m, *old_v = args.v;
    float *new_p = args.new_parameters, *new_m = args.new_m, *new_v = args.new_v;
#pragma GCC ivdep
    for (std::int64_t i = first; i < last; ++i) {
      const float p = parameters[i], g = gradients[i] * scale + decay * p;
      const float m = beta1 * old_m[i] + rest1 * g, v = beta2 * old_v[i] + rest2 * g * g;
      new_m[i] = m;
      new_v[i] = v;
      new_p[i] = (p - shrink * p) - step_size * m / (std::sqrt(v) * correction2 + epsilon);
    }
  });
}

/// Squares in double, so that none overflows, in chunks of fixed size: the same bits whatever the number of threads.
template <>
void global_norm<Host>(const GlobalNormArgs& args, Stream) {
  const std::int64_t chunks = (args.count + kNormChunk - 1) / kNormChunk;
  double* partials = static_cast<double*>(args.scratch);
  parallel_for(
      chunks,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t chunk = begin; chunk < end; ++chunk) {
          constexpr int kLanes = 32;  // independent sums, which the compiler keeps in vector registers
          double sums[kLanes] = {};
          std::int64_t i = chunk * kNormChunk;
          const std::int64_t last = std::min(args.count, i + kNormChunk);
          for (; i + kLanes <= last; i += kLanes)
            for (int lane = 0; lane < kLanes; ++lane)
              sums[lane] += static_cast<double>(args.gradients[i + lane]) * args.gradients[i + lane];
          for (int lane = 0; i < last; ++i, ++lane) sums[lane] += static_cast<double>(args.gradients[i]) * args.gradients[i];
          for (int half = kLanes / 2; half > 0; half /= 2)
            for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
          partials[chunk] = sums[0];
        }
      },
      4);
  double sum = 0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) sum += partials[chunk];
  *args.norm = static_cast<float>(std::sqrt(sum));
  *args.scale = static_cast<float>(std::fmin(1.0, args.maximum / (std::sqrt(sum) + 1e-6)));
}

}  // namespace epitaxy
