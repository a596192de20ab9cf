// Losses and accuracy in fp32, over tiles of rows whose partial sums are added in order: the same bits for any number of threads.
#include "kernels/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/parallel.h"
#include "cpu/row_blocks.h"
#include "cpu/vector_math.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

constexpr int kLanes = kBlockRows;
using Lanes = float[kLanes];

/// Calls body(first, last) for at most kLossPartials tiles of whole blocks, in parallel, and answers the sum of the results.
template <class Body>
double sum_over_tiles(std::int64_t rows, double* partials, std::int64_t work_per_row, Body&& body) {
  const std::int64_t least = std::max<std::int64_t>(8 * kLanes, (rows + kLossPartials - 1) / kLossPartials);
  const std::int64_t size = (least + kLanes - 1) / kLanes * kLanes, tiles = (rows + size - 1) / size;
  parallel_for(
      tiles,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) partials[t] = body(t * size, std::min(rows, (t + 1) * size));
      },
      std::max<std::int64_t>(1, (1 << 12) / (size * work_per_row)));
  double sum = 0;
  for (std::int64_t t = 0; t < tiles; ++t) sum += partials[t];
  return sum;
}
static_assert(kLossPartials * sizeof(double) <= kLossWorkspace);

/// The loss of one element, and its derivative with respect to y.
template <ElementLoss kKind>
float element(float y, float target, float delta, float& derivative) {
  if constexpr (kKind == ElementLoss::binary_cross_entropy) {  // written so that nothing cancels at targets 0 and 1
    const float e = fast_exp(-std::fabs(y)), tail = e / (1.0f + e);
    derivative = y > 0.0f ? (1.0f - target) - tail : tail - target;
    return (y > 0.0f ? y * (1.0f - target) : -y * target) + fast_log1p(e);
  }
  const float d = y - target, size = std::fabs(d);
  const float sign = d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;  // NaN stays
  if constexpr (kKind == ElementLoss::squared) return derivative = 2.0f * d, d * d;
  if constexpr (kKind == ElementLoss::absolute) return derivative = sign, size;
  derivative = size <= delta ? d : delta * sign;
  return size <= delta ? 0.5f * d * d : delta * (size - 0.5f * delta);
}

template <ElementLoss kKind>
void run_element_loss(const ElementLossArgs& args) {
  const float scale = 1.0f / static_cast<float>(args.count), delta = args.delta;
  with_float(args.dtype, [&]<class T>() {
    const T* y = static_cast<const T*>(args.y);
    T* gradient = static_cast<T*>(args.gradient);
    const double sum = sum_over_tiles(args.count, static_cast<double*>(args.workspace), 1, [&](std::int64_t first, std::int64_t last) {
      double total = 0;
      for (std::int64_t i = first; i < last; i += kLanes) {
        const int here = static_cast<int>(std::min<std::int64_t>(kLanes, last - i));
        Lanes losses = {};
#pragma GCC ivdep
        for (int r = 0; r < here; ++r) {
          float derivative;
          losses[r] = element<kKind>(to_float(y[i + r]), args.target[i + r], delta, derivative);
          gradient[i + r] = round<T>(derivative * scale);
        }
        for (int r = 0; r < here; ++r) total += losses[r];
      }
      return total;
    });
    *args.loss = static_cast<float>(sum / static_cast<double>(args.count));
  });
}

/// A block of rows' targets: the class, whether it counts, and the weight of its loss (NaN: no class).
struct Targets {
  std::int32_t at[kLanes];
  std::int32_t counts[kLanes];
  Lanes weight;
};

Targets targets_of(const CrossEntropyArgs& args, std::int64_t first, int here) {
  Targets targets;
  for (int r = 0; r < kLanes; ++r) {
    const std::int32_t t = r < here ? args.target[first + r] : kIgnoredTarget;
    const bool known = t >= 0 && t < args.classes;
    targets.at[r] = t;
    targets.counts[r] = t != kIgnoredTarget;
    targets.weight[r] = !targets.counts[r] ? 0.0f
                        : !known           ? std::numeric_limits<float>::quiet_NaN()
                        : args.weights     ? args.weights[t]
                                           : 1.0f;
  }
  return targets;
}

/// Losses of a block of rows, summed; x [classes][kLanes] becomes the gradients. Written across the rows, so that everything is vectorised.
double block_loss(const CrossEntropyArgs& args, const Targets& targets, float* x, float scale) {
  const int classes = static_cast<int>(args.classes);
  const float smoothing = args.smoothing, share = smoothing / static_cast<float>(classes);
  Lanes maximum, others = {}, own = {}, shifted = {}, deviations = {}, inverse, losses;
  float all_weights = 0.0f;
  for (int r = 0; r < kLanes; ++r) maximum[r] = -std::numeric_limits<float>::infinity();
  for (int c = 0; c < classes; ++c)
    for (int r = 0; r < kLanes; ++r) maximum[r] = x[c * kLanes + r] > maximum[r] ? x[c * kLanes + r] : maximum[r];
  for (int c = 0; c < classes; ++c) {
    const float weight = args.weights ? args.weights[c] : 1.0f;
    all_weights += weight;
    for (int r = 0; r < kLanes; ++r) {
      const float d = x[c * kLanes + r] - maximum[r], e = fast_exp(d);
      const bool is_target = targets.at[r] == c;
      others[r] += is_target ? 0.0f : e;
      own[r] = is_target ? e : own[r];
      shifted[r] = is_target ? d : shifted[r];
      x[c * kLanes + r] = e;
      if (smoothing > 0.0f && weight != 0.0f) deviations[r] += weight * d;
    }
  }
  for (int r = 0; r < kLanes; ++r) {
    const float sum = others[r] + own[r];
    const float log_sum = fast_log1p(shifted[r] == 0.0f && own[r] == 1.0f ? others[r] : sum - 1.0f);
    inverse[r] = 1.0f / sum;
    const float loss = (1.0f - smoothing) * targets.weight[r] * (log_sum - shifted[r]);
    const float smooth = smoothing > 0.0f ? share * (all_weights * log_sum - deviations[r]) : 0.0f;
    losses[r] = targets.counts[r] ? loss + smooth : 0.0f;
  }
  for (int c = 0; c < classes; ++c) {
    const float class_weight = args.weights ? args.weights[c] : 1.0f;
    for (int r = 0; r < kLanes; ++r) {
      const float p = x[c * kLanes + r] * inverse[r], weight = (1.0f - smoothing) * targets.weight[r];
      const float g = targets.at[r] == c ? -weight * (others[r] * inverse[r]) : weight * p;
      const float total = g + share * (p * all_weights - class_weight);
      x[c * kLanes + r] = targets.counts[r] ? total * scale : 0.0f;
    }
  }
  double total = 0;
  for (int r = 0; r < kLanes; ++r) total += losses[r];
  return total;
}

/// The same row by row, for classes that a block has no room for.
template <class T>
double long_row_loss(const CrossEntropyArgs& args, const T* x, T* dx, const Targets& targets, int r, float scale) {
  const std::int64_t classes = args.classes;
  if (!targets.counts[r]) return std::fill_n(dx, classes, round<T>(0.0f)), 0.0;
  const std::int64_t t = targets.at[r];
  const bool known = t >= 0 && t < classes;
  const float smoothing = args.smoothing, share = smoothing / static_cast<float>(classes);
  float maximum = -std::numeric_limits<float>::infinity(), others = 0.0f, all_weights = 0.0f, deviations = 0.0f;
  for (std::int64_t c = 0; c < classes; ++c) maximum = to_float(x[c]) > maximum ? to_float(x[c]) : maximum;
#pragma omp simd reduction(+ : others)
  for (std::int64_t c = 0; c < classes; ++c) others += c == t ? 0.0f : fast_exp(to_float(x[c]) - maximum);
  for (std::int64_t c = 0; c < classes; ++c) all_weights += args.weights ? args.weights[c] : 1.0f;
  if (smoothing > 0.0f)
    for (std::int64_t c = 0; c < classes; ++c) {
      const float weight = args.weights ? args.weights[c] : 1.0f;
      if (weight != 0.0f) deviations += weight * (to_float(x[c]) - maximum);
    }
  const float shifted = known ? to_float(x[t]) - maximum : 0.0f;
  const float sum = others + (known ? fast_exp(shifted) : 0.0f), inverse = 1.0f / sum;
  const float log_sum = fast_log1p(known && shifted == 0.0f ? others : sum - 1.0f), weight = (1.0f - smoothing) * targets.weight[r];
#pragma GCC ivdep
  for (std::int64_t c = 0; c < classes; ++c) {
    const float p = fast_exp(to_float(x[c]) - maximum) * inverse;
    const float g = c == t ? -weight * (others * inverse) : weight * p;
    dx[c] = round<T>((g + share * (p * all_weights - (args.weights ? args.weights[c] : 1.0f))) * scale);
  }
  const float smooth = smoothing > 0.0f ? share * (all_weights * log_sum - deviations) : 0.0f;
  return weight * (log_sum - shifted) + smooth;
}

}  // namespace

template <>
void element_loss<Host>(const ElementLossArgs& args, Stream) {
  switch (args.kind) {
    case ElementLoss::squared: return run_element_loss<ElementLoss::squared>(args);
    case ElementLoss::absolute: return run_element_loss<ElementLoss::absolute>(args);
    case ElementLoss::huber: return run_element_loss<ElementLoss::huber>(args);
    case ElementLoss::binary_cross_entropy: return run_element_loss<ElementLoss::binary_cross_entropy>(args);
  }
}

template <>
void softmax_cross_entropy<Host>(const CrossEntropyArgs& args, Stream) {
  double* partials = static_cast<double*>(args.workspace);
  const auto each_block = [&](std::int64_t first, std::int64_t last, auto&& body) {
    double total = 0;
    for (std::int64_t row = first; row < last; row += kLanes) {
      const int here = static_cast<int>(std::min<std::int64_t>(kLanes, last - row));
      total += body(row, here, targets_of(args, row, here));
    }
    return total;
  };
  const double weight_sum = sum_over_tiles(args.rows, partials, 1, [&](std::int64_t first, std::int64_t last) {
    return each_block(first, last, [&](std::int64_t, int, const Targets& targets) {
      double sum = 0;
      for (int r = 0; r < kLanes; ++r) sum += !args.weights ? static_cast<float>(targets.counts[r]) : targets.weight[r];
      return sum;
    });
  });
  const float scale = weight_sum == 0 ? 0.0f : static_cast<float>(1 / weight_sum);
  with_float(args.dtype, [&]<class T>() {
    const double sum = sum_over_tiles(args.rows, partials, 8 * args.classes, [&](std::int64_t first, std::int64_t last) {
      return each_block(first, last, [&](std::int64_t row, int here, const Targets& targets) {
        const T* x = static_cast<const T*>(args.logits) + row * args.classes;
        T* dx = static_cast<T*>(args.gradient) + row * args.classes;
        if (args.classes <= kBlockColumns) {
          float block[kBlockColumns * kLanes];
          load_block(x, block, here, args.classes);
          const double loss = block_loss(args, targets, block, scale);
          store_block(block, dx, here, args.classes);
          return loss;
        }
        double loss = 0;
        for (int r = 0; r < here; ++r) loss += long_row_loss(args, x + r * args.classes, dx + r * args.classes, targets, r, scale);
        return loss;
      });
    });
    *args.loss = weight_sum == 0 ? 0.0f : static_cast<float>(sum / weight_sum);
  });
}

template <>
void accuracy<Host>(const AccuracyArgs& args, Stream) {
  double* partials = static_cast<double*>(args.workspace);
  with_float(args.dtype, [&]<class T>() {
    const auto count = [&](auto&& counts) {
      return sum_over_tiles(args.rows, partials, args.classes, [&](std::int64_t first, std::int64_t last) {
        std::int64_t sum = 0;
        for (std::int64_t n = first; n < last; ++n) sum += args.target[n] != kIgnoredTarget && counts(n);
        return static_cast<double>(sum);
      });
    };
    const double counted = count([](std::int64_t) { return true; });
    const double hits = count([&](std::int64_t n) {
      const T* x = static_cast<const T*>(args.logits) + n * args.classes;
      std::int64_t first = 0;
      bool numbers = true;
      for (std::int64_t c = 0; c < args.classes; ++c) {
        const float value = to_float(x[c]);
        if (value > to_float(x[first])) first = c;
        numbers &= value == value;
      }
      return numbers && first == args.target[n];
    });
    *args.accuracy = counted == 0 ? 0.0f : static_cast<float>(hits / counted);
  });
}

}  // namespace epitaxy
