// Dynamic loss scaling.
#include "kernels/loss_scale.h"

#include <algorithm>
#include <cmath>

namespace epitaxy {

template <>
void scale<Reference>(const ScaleArgs& args, Stream) {
  for (std::int64_t i = 0; i < args.count; ++i) args.y[i] = args.x[i] * *args.factor;
}

template <>
void update_loss_scale<Reference>(const UpdateLossScaleArgs& args, Stream) {
  const LossScaleOptions& o = args.options;
  const double scale = *args.loss_scale, norm = *args.norm / scale, steps = *args.finite_steps + 1.0;
  double next = scale * o.backoff, next_steps = 0, gradient_scale = 0;
  if (std::isfinite(norm)) {
    gradient_scale = (o.clip_norm > 0 ? std::min(1.0, o.clip_norm / (norm + 1e-6)) : 1.0) / scale;
    const bool grows = steps >= static_cast<double>(o.interval);
    next = grows ? scale * o.growth : scale;
    next_steps = grows ? 0 : steps;
  }
  *args.gradient_scale = static_cast<float>(gradient_scale);
  *args.new_loss_scale = static_cast<float>(std::clamp(next, 0x1p-24, 0x1p24));
  *args.new_finite_steps = static_cast<float>(next_steps);
}

}  // namespace epitaxy
