// checkpoint.safetensors of a run directory: from it training goes on to the bit.
#pragma once

#include <string>
#include <vector>

#include "epitaxy/train/fit.h"

namespace epitaxy {

struct Checkpoint {
  FitState state;
  std::vector<NamedTensor> weights, optimizer;  // of the model at that moment
  std::string origin;                           // of data and settings: what they must still give
};

/// Of what `model` holds now.
void write_checkpoint(const std::string& path, const CompiledModel& model, const FitState& state, const std::string& origin);
Checkpoint read_checkpoint(const std::string& path);

}  // namespace epitaxy
