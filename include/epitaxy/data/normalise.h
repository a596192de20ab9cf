// Normalisation: y = (x - mean) * scale per channel or feature. Fitted on the training part only, stored with the model.
#pragma once

#include <string_view>
#include <vector>

#include "epitaxy/data/dataset.h"

namespace epitaxy {

enum class NormaliseKind : std::uint8_t { none, minmax, standardise };

std::string_view name(NormaliseKind kind);
/// "none", "minmax", "standardise". Rejects anything else.
NormaliseKind parse_normalise(std::string_view name);

/// none: mean 0, scale 1. minmax: mean = minimum, scale = 1 / (maximum - minimum), so y is in [0, 1] on the training part.
/// standardise: mean, and scale = 1 / standard deviation (of the population). A constant channel or feature has scale 1.
struct Normalisation {
  NormaliseKind kind = NormaliseKind::none;
  std::vector<float> mean, scale;                // one per channel (C) or feature (F)
  std::vector<float> target_mean, target_scale;  // regression: one per target; empty: targets are left as they are
};

/// Fits to a training part; the padding of sequences does not count. `standardise_targets`: a regression's targets are standardised too.
Normalisation fit_normalisation(const Dataset& train, NormaliseKind kind, bool standardise_targets = false);

/// fp32 of the same shape: (x - mean) * scale of uint8, uint16 or fp32 inputs [..., channels].
Tensor normalise(const Normalisation& normalisation, const Tensor& inputs);

/// Targets [N, T] to network units, and network outputs [N, T] back to the user's units, in place. Without target statistics nothing is
/// done.
void normalise_targets(const Normalisation& normalisation, Tensor& targets);
void restore_targets(const Normalisation& normalisation, Tensor& outputs);

}  // namespace epitaxy
