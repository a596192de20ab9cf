#include "epitaxy/optim/optimizer.h"

#include <array>
#include <cmath>
#include <numbers>
#include <string>

#include "epitaxy/error.h"

namespace epitaxy {

namespace {
constexpr std::array<std::string_view, 3> kOptimizers{"sgd", "adam", "adamw"};
constexpr std::array<std::string_view, 3> kSchedules{"constant", "cosine", "step"};

template <class Enum>
Enum parse(const std::array<std::string_view, 3>& names, std::string_view wanted, const char* what) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == wanted) return static_cast<Enum>(i);
  reject("unknown ", what, " '", wanted, "': one of ", names[0], ", ", names[1], ", ", names[2]);
}
}  // namespace

std::string_view name(OptimizerKind kind) { return kOptimizers[static_cast<std::size_t>(kind)]; }
OptimizerKind parse_optimizer(std::string_view name) { return parse<OptimizerKind>(kOptimizers, name, "optimizer"); }
std::string_view name(Schedule schedule) { return kSchedules[static_cast<std::size_t>(schedule)]; }
Schedule parse_schedule(std::string_view name) { return parse<Schedule>(kSchedules, name, "schedule"); }

float learning_rate_at(const ScheduleOptions& schedule, float base, std::int64_t step, std::int64_t steps) {
  const double at = static_cast<double>(step), all = static_cast<double>(steps);
  switch (schedule.kind) {
    case Schedule::constant: return base;
    case Schedule::cosine: {
      const double warm = std::floor(schedule.warmup * all);
      if (at < warm) return static_cast<float>(base * (at + 1) / warm);
      return static_cast<float>(base * 0.5 * (1 + std::cos(std::numbers::pi * (at - warm) / std::fmax(1.0, all - warm))));
    }
    case Schedule::step: return static_cast<float>(base * std::pow(schedule.gamma, std::floor(3 * at / std::fmax(1.0, all))));
  }
  return base;
}

}  // namespace epitaxy
