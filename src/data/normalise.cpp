#include "epitaxy/data/normalise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "file.h"

namespace epitaxy {

namespace {

constexpr std::array<std::string_view, 3> kKinds{"none", "minmax", "standardise"};

struct Columns {
  std::vector<float> mean, scale;
};

/// Fits the columns of values [rows, columns]. Two passes for the variance: sums of squares of large values would cancel.
template <class T>
Columns fit_columns(const T* values, std::int64_t rows, std::int64_t columns, NormaliseKind kind) {
  const auto width = static_cast<std::size_t>(columns);
  Columns fitted{std::vector<float>(width, 0.0f), std::vector<float>(width, 1.0f)};
  if (kind == NormaliseKind::none) return fitted;
  std::vector<double> low(width, std::numeric_limits<double>::infinity()), high(width, -std::numeric_limits<double>::infinity());
  std::vector<double> sum(width, 0.0), squares(width, 0.0);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < width; ++c) {
      const double value = values[static_cast<std::size_t>(r) * width + c];
      low[c] = std::min(low[c], value);
      high[c] = std::max(high[c], value);
      sum[c] += value;
    }
  if (kind == NormaliseKind::standardise)
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < width; ++c) {
        const double off = values[static_cast<std::size_t>(r) * width + c] - sum[c] / static_cast<double>(rows);
        squares[c] += off * off;
      }
  for (std::size_t c = 0; c < width; ++c) {
    const bool constant = low[c] == high[c];
    const double spread = kind == NormaliseKind::minmax ? high[c] - low[c] : std::sqrt(squares[c] / static_cast<double>(rows));
    fitted.mean[c] = static_cast<float>(constant || kind == NormaliseKind::minmax ? low[c] : sum[c] / static_cast<double>(rows));
    fitted.scale[c] = constant ? 1.0f : static_cast<float>(1 / spread);
  }
  return fitted;
}

Columns fit_tensor(const Tensor& values, NormaliseKind kind) {
  const std::int64_t columns = values.dim(-1), rows = values.count() / columns;
  switch (values.dtype()) {
    case DType::uint8: return fit_columns(values.as<std::uint8_t>(), rows, columns, kind);
    case DType::uint16: return fit_columns(values.as<std::uint16_t>(), rows, columns, kind);
    default: return fit_columns(values.as<float>(), rows, columns, kind);
  }
}

template <class T>
void apply_to(const T* from, const Normalisation& normalisation, const Tensor& to) {
  const std::size_t columns = normalisation.mean.size();
  float* y = to.as<float>();
  for (std::int64_t i = 0; i < to.count(); i += static_cast<std::int64_t>(columns))
    for (std::size_t c = 0; c < columns; ++c) *y++ = (static_cast<float>(*from++) - normalisation.mean[c]) * normalisation.scale[c];
}

void check_targets(const Normalisation& normalisation, const Tensor& values, const char* what) {
  require(values.dtype() == DType::fp32 && values.shape().rank() >= 1 &&
              values.dim(-1) == static_cast<std::int64_t>(normalisation.target_mean.size()),
          what, ": values ", values.spec(), " for ", normalisation.target_mean.size(), " targets");
}

}  // namespace

std::string_view name(NormaliseKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

NormaliseKind parse_normalise(std::string_view name) {
  const auto found = std::find(kKinds.begin(), kKinds.end(), name);
  if (found == kKinds.end()) reject("unknown normalisation '", name, "': one of none, minmax, standardise");
  return static_cast<NormaliseKind>(found - kKinds.begin());
}

namespace {

/// The steps that sequences have, [steps, F], without their padding.
Tensor without_padding(const Dataset& data) {
  const auto lengths = data.lengths.span<std::int32_t>();
  const std::int64_t steps = data.inputs.dim(1), channels = data.inputs.dim(2);
  const Tensor kept =
      allocate_host({DType::fp32, {std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}), channels}}, data.source);
  float* to = kept.as<float>();
  for (std::size_t i = 0; i < lengths.size(); ++i)
    to = std::copy_n(data.inputs.as<float>() + static_cast<std::int64_t>(i) * steps * channels, lengths[i] * channels, to);
  return kept;
}

}  // namespace

Normalisation fit_normalisation(const Dataset& train, NormaliseKind kind, bool standardise_targets) {
  require(train.inputs && train.inputs.count() > 0, "normalisation: '", train.source, "' is empty");
  Normalisation normalisation;
  normalisation.kind = kind;
  Columns inputs = fit_tensor(train.lengths ? without_padding(train) : train.inputs, kind);
  normalisation.mean = std::move(inputs.mean);
  normalisation.scale = std::move(inputs.scale);
  if (standardise_targets && train.task == Task::regression) {
    Columns targets = fit_tensor(train.targets, NormaliseKind::standardise);
    normalisation.target_mean = std::move(targets.mean);
    normalisation.target_scale = std::move(targets.scale);
  }
  return normalisation;
}

Tensor normalise(const Normalisation& normalisation, const Tensor& inputs) {
  require(inputs.shape().rank() >= 1 && inputs.dim(-1) == static_cast<std::int64_t>(normalisation.mean.size()), "normalise: inputs ",
          inputs.spec(), " for ", normalisation.mean.size(), " channels or features");
  Tensor result = allocate_host({DType::fp32, inputs.shape()}, "normalised inputs");
  switch (inputs.dtype()) {
    case DType::uint8: apply_to(inputs.as<std::uint8_t>(), normalisation, result); break;
    case DType::uint16: apply_to(inputs.as<std::uint16_t>(), normalisation, result); break;
    default: apply_to(inputs.as<float>(), normalisation, result);
  }
  return result;
}

void normalise_targets(const Normalisation& normalisation, Tensor& targets) {
  if (normalisation.target_mean.empty()) return;
  check_targets(normalisation, targets, "normalise_targets");
  const std::size_t columns = normalisation.target_mean.size();
  const auto values = targets.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = (values[i] - normalisation.target_mean[i % columns]) * normalisation.target_scale[i % columns];
}

void restore_targets(const Normalisation& normalisation, Tensor& outputs) {
  if (normalisation.target_mean.empty()) return;
  check_targets(normalisation, outputs, "restore_targets");
  const std::size_t columns = normalisation.target_mean.size();
  const auto values = outputs.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = values[i] / normalisation.target_scale[i % columns] + normalisation.target_mean[i % columns];
}

}  // namespace epitaxy
