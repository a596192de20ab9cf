// Which optimizer trains a model, and how its learning rate moves.
#pragma once

#include <cstdint>
#include <string_view>

#include "epitaxy/ops/optimizer.h"

namespace epitaxy {

enum class OptimizerKind : std::uint8_t { sgd, adam, adamw };
std::string_view name(OptimizerKind kind);
OptimizerKind parse_optimizer(std::string_view name);

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::adam;
  float learning_rate = 1e-3f;
  float momentum = 0.9f;  // sgd
  bool nesterov = false;  // sgd
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  float weight_decay = 0.0f;  // on weights alone: biases and normalisation never decay
  float clip_norm = 0.0f;     // clips the gradients' global norm; 0: off
};

/// constant; cosine: linear warm-up, then half a cosine to zero (Loshchilov & Hutter 2017); step: times `gamma` at each third.
enum class Schedule : std::uint8_t { constant, cosine, step };
std::string_view name(Schedule schedule);
Schedule parse_schedule(std::string_view name);

struct ScheduleOptions {
  Schedule kind = Schedule::constant;
  double warmup = 0.05;  // fraction of all steps, cosine only
  double gamma = 0.1;    // step only
};

/// The learning rate of `step` (from 0) out of `steps`.
float learning_rate_at(const ScheduleOptions& schedule, float base, std::int64_t step, std::int64_t steps);

}  // namespace epitaxy
