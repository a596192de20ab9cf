// Learning-rate schedules at hand-computed points, and names.
#include "epitaxy/optim/optimizer.h"

#include <gtest/gtest.h>

#include "epitaxy/error.h"

namespace epitaxy {
namespace {

TEST(Schedule, Constant) { EXPECT_FLOAT_EQ(learning_rate_at({}, 0.5f, 7, 10), 0.5f); }

TEST(Schedule, CosineWarmsUpThenFallsToZero) {
  const ScheduleOptions cosine{Schedule::cosine, 0.1, 0};
  EXPECT_FLOAT_EQ(learning_rate_at(cosine, 1, 0, 100), 0.1f);
  EXPECT_FLOAT_EQ(learning_rate_at(cosine, 1, 9, 100), 1.0f);
  EXPECT_FLOAT_EQ(learning_rate_at(cosine, 1, 10, 100), 1.0f);
  EXPECT_FLOAT_EQ(learning_rate_at(cosine, 1, 55, 100), 0.5f);
  EXPECT_NEAR(learning_rate_at(cosine, 1, 100, 100), 0.0f, 1e-7);
  EXPECT_FLOAT_EQ(learning_rate_at({Schedule::cosine, 0.0, 0}, 2, 0, 1), 2.0f);
}

TEST(Schedule, StepFallsAtEachThird) {
  const ScheduleOptions step{Schedule::step, 0, 0.1};
  EXPECT_FLOAT_EQ(learning_rate_at(step, 1, 0, 30), 1.0f);
  EXPECT_FLOAT_EQ(learning_rate_at(step, 1, 9, 30), 1.0f);
  EXPECT_FLOAT_EQ(learning_rate_at(step, 1, 10, 30), 0.1f);
  EXPECT_FLOAT_EQ(learning_rate_at(step, 1, 29, 30), 0.01f);
}

TEST(Optimizer, NamesRoundTrip) {
  for (const auto kind : {OptimizerKind::sgd, OptimizerKind::adam, OptimizerKind::adamw}) EXPECT_EQ(parse_optimizer(name(kind)), kind);
  for (const auto kind : {Schedule::constant, Schedule::cosine, Schedule::step}) EXPECT_EQ(parse_schedule(name(kind)), kind);
  EXPECT_THROW(parse_optimizer("adagrad"), Error);
}

}  // namespace
}  // namespace epitaxy
