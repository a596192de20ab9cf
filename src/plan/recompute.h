// Memory against time: values of the forward pass that are dropped and computed again when the backward pass needs them.
#pragma once

#include "plan/layout.h"
#include "plan/step_graph.h"

namespace epitaxy {

/// Rewrites a training step so that its arena takes at most `budget` bytes, or as little as can be reached; leaves it alone where it fits
/// as it is. Every result keeps its bits: what is computed again are clones of forward nodes on the same inputs. Values are chosen
/// greedily: of those alive where most memory is taken, the one with the most bytes for the time of its node (so outputs of normalisation
/// and ReLU come before those of convolutions); if that does not reach the budget, by segments between checkpoints (Chen et al. 2016).
RecomputeReport recompute_into(StepGraph& step, const Context& context, std::size_t budget);

}  // namespace epitaxy
