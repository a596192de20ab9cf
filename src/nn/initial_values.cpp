// Initial weights, drawn on the CPU from Philox: parameter i uses stream i, so a layer's weights depend on the seed and its place alone.
#include <cmath>

#include "epitaxy/nn/model.h"
#include "epitaxy/philox.h"

namespace epitaxy {

namespace {

/// Rows (or columns, where there are fewer) orthonormal: modified Gram-Schmidt of a Gaussian matrix [rows, columns], twice for accuracy.
void orthogonal(std::span<float> out, std::int64_t rows, std::int64_t columns, Random& random) {
  const bool wide = rows <= columns;
  const std::int64_t n = wide ? rows : columns, length = wide ? columns : rows;
  std::vector<double> basis(static_cast<std::size_t>(n * length));
  for (auto& v : basis) v = random.normal();
  for (std::int64_t i = 0; i < n; ++i) {
    double* vi = &basis[static_cast<std::size_t>(i * length)];
    for (int pass = 0; pass < 2; ++pass)
      for (std::int64_t j = 0; j < i; ++j) {
        const double* vj = &basis[static_cast<std::size_t>(j * length)];
        double dot = 0;
        for (std::int64_t k = 0; k < length; ++k) dot += vi[k] * vj[k];
        for (std::int64_t k = 0; k < length; ++k) vi[k] -= dot * vj[k];
      }
    double norm = 0;
    for (std::int64_t k = 0; k < length; ++k) norm += vi[k] * vi[k];
    for (std::int64_t k = 0; k < length; ++k) vi[k] /= std::sqrt(norm);
  }
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c)
      out[static_cast<std::size_t>(r * columns + c)] =
          static_cast<float>(basis[static_cast<std::size_t>(wide ? r * length + c : c * length + r)]);
}

void draw(const Parameter& p, std::span<float> out, Random& random) {
  const double fan_in = static_cast<double>(p.fan_in), fans = fan_in + static_cast<double>(p.fan_out);
  const auto normal = [&](double sigma) {
    for (float& v : out) v = static_cast<float>(sigma * random.normal());
  };
  const auto uniform = [&](double limit) {
    for (float& v : out) v = static_cast<float>(random.uniform(-limit, limit));
  };
  switch (p.initializer) {
    case Initializer::he_normal: return normal(std::sqrt(2.0 / fan_in));
    case Initializer::he_uniform: return uniform(std::sqrt(6.0 / fan_in));
    case Initializer::glorot_normal: return normal(std::sqrt(2.0 / fans));
    case Initializer::glorot_uniform: return uniform(std::sqrt(6.0 / fans));
    case Initializer::orthogonal: return orthogonal(out, p.shape[0], p.shape.count() / p.shape[0], random);
  }
}

}  // namespace

std::vector<Tensor> initial_values(const Model& model, std::uint64_t seed) {
  std::vector<Tensor> result;
  for (const auto& p : model.parameters()) {
    const Tensor value(cpu_backend(), {DType::fp32, p.shape});
    const auto out = value.span<float>();
    if (p.start == Parameter::Start::drawn) {
      Random random(seed, RandomPurpose::weights, static_cast<std::uint32_t>(result.size()));
      draw(p, out, random);
    } else {
      for (float& v : out) v = p.start == Parameter::Start::ones ? 1.0f : 0.0f;
    }
    result.push_back(value);
  }
  return result;
}

}  // namespace epitaxy
