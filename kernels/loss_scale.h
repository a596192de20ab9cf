// Launchers of dynamic loss scaling.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/ops/loss_scale.h"

namespace epitaxy {

struct ScaleArgs {
  const float* x;       // [count]
  const float* factor;  // [1]
  float* y;             // [count]
  std::int64_t count;
};

struct UpdateLossScaleArgs {
  const float *norm, *loss_scale, *finite_steps;              // [1]
  float *gradient_scale, *new_loss_scale, *new_finite_steps;  // [1]; the last two may be the inputs
  LossScaleOptions options;
};

template <class World>
void scale(const ScaleArgs& args, Stream stream);
template <class World>
void update_loss_scale(const UpdateLossScaleArgs& args, Stream stream);

}  // namespace epitaxy
