// Initial weights: moments, limits, orthogonality, and that they depend on the seed alone.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "epitaxy/nn/model.h"

namespace epitaxy {
namespace {

Tensor weight(Initializer initializer, std::int64_t units, std::int64_t features, std::uint64_t seed = 3) {
  return initial_values(sequential({features}, {layers::Dense{units, Activation::none, true, initializer}}), seed)[0];
}

struct Moments {
  double mean = 0, deviation = 0, largest = 0;
};
Moments moments(const Tensor& t) {
  Moments m;
  for (const float v : t.span<float>()) m.mean += v, m.largest = std::fmax(m.largest, std::fabs(v));
  m.mean /= static_cast<double>(t.count());
  for (const float v : t.span<float>()) m.deviation += (v - m.mean) * (v - m.mean);
  m.deviation = std::sqrt(m.deviation / static_cast<double>(t.count()));
  return m;
}

TEST(InitialValues, Moments) {
  const double he = std::sqrt(2.0 / 200), glorot = std::sqrt(2.0 / 500);
  for (const auto& [initializer, deviation, limit] :
       {std::tuple{Initializer::he_normal, he, 10.0}, std::tuple{Initializer::he_uniform, he, he * std::sqrt(3.0)},
        std::tuple{Initializer::glorot_normal, glorot, 10.0}, std::tuple{Initializer::glorot_uniform, glorot, glorot * std::sqrt(3.0)}}) {
    const Moments m = moments(weight(initializer, 300, 200));
    EXPECT_NEAR(m.mean, 0, 4 * deviation / std::sqrt(60000.0));
    EXPECT_NEAR(m.deviation, deviation, 0.02 * deviation);
    EXPECT_LE(m.largest, limit);
  }
}

TEST(InitialValues, OrthogonalRowsOrColumns) {
  for (const auto& [rows, columns] : {std::pair{6, 20}, std::pair{20, 6}}) {
    const Tensor w = weight(Initializer::orthogonal, rows, columns);
    const float* v = w.as<float>();
    const bool wide = rows <= columns;
    const int n = wide ? rows : columns, length = wide ? columns : rows;
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) {
        double dot = 0;
        for (int k = 0; k < length; ++k) dot += wide ? v[i * columns + k] * v[j * columns + k] : v[k * columns + i] * v[k * columns + j];
        EXPECT_NEAR(dot, i == j ? 1.0 : 0.0, 1e-6);
      }
  }
}

TEST(InitialValues, AFunctionOfTheSeed) {
  const Tensor a = weight(Initializer::he_normal, 8, 8, 1), b = weight(Initializer::he_normal, 8, 8, 1),
               c = weight(Initializer::he_normal, 8, 8, 2);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0);
  EXPECT_NE(std::memcmp(a.data(), c.data(), a.bytes()), 0);
  const auto values = initial_values(sequential({4}, {layers::Dense{4}, layers::BatchNorm{}}), 1);
  EXPECT_EQ(values[1].as<float>()[0], 0.0f);
  EXPECT_EQ(values[2].as<float>()[3], 1.0f);
}

}  // namespace
}  // namespace epitaxy
