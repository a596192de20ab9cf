#include "epitaxy/data/dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "file.h"

namespace epitaxy {

namespace {

Tensor gather(const Tensor& from, std::span<const std::int64_t> items, const std::string& what) {
  TensorSpec spec = from.spec();
  spec.shape.set(0, static_cast<std::int64_t>(items.size()));
  Tensor to = allocate_host(spec, what);
  const std::size_t item_bytes = static_cast<std::size_t>(from.shape().tail().count()) * size_of(from.dtype());
  auto* at = static_cast<std::byte*>(to.data());
  for (const std::int64_t item : items) {
    std::memcpy(at, static_cast<const std::byte*>(from.data()) + static_cast<std::size_t>(item) * item_bytes, item_bytes);
    at += item_bytes;
  }
  return to;
}

std::vector<std::string> gather(const std::vector<std::string>& from, std::span<const std::int64_t> items) {
  std::vector<std::string> to;
  if (from.empty()) return to;
  to.reserve(items.size());
  for (const std::int64_t item : items) to.push_back(from[static_cast<std::size_t>(item)]);
  return to;
}

Tensor join(const Tensor& a, const Tensor& b, const std::string& what) {
  TensorSpec spec = a.spec();
  spec.shape.set(0, a.dim(0) + b.dim(0));
  Tensor to = allocate_host(spec, what);
  std::memcpy(to.data(), a.data(), a.bytes());
  std::memcpy(static_cast<std::byte*>(to.data()) + a.bytes(), b.data(), b.bytes());
  return to;
}

/// Lengths, of sequences that are all of full length too.
Tensor lengths_of(const Dataset& data) {
  if (data.lengths) return data.lengths;
  Tensor lengths = allocate_host({DType::int32, {data.size()}}, data.source);
  std::fill_n(lengths.as<std::int32_t>(), data.size(), static_cast<std::int32_t>(data.inputs.dim(1)));
  return lengths;
}

/// Value below which `percent` of the items of a histogram lie; bin i stands for `low + i * step`.
double percentile(const std::vector<std::int64_t>& bins, std::int64_t total, double percent, double low, double step) {
  const auto wanted = static_cast<std::int64_t>(std::floor(percent / 100 * static_cast<double>(total - 1)));
  std::int64_t seen = 0;
  for (std::size_t i = 0; i < bins.size(); ++i) {
    seen += bins[i];
    if (seen > wanted) return low + static_cast<double>(i) * step;
  }
  return low + static_cast<double>(bins.size() - 1) * step;
}

template <class T>
ImageRange integer_range(const Tensor& values, double low_percent, double high_percent) {
  std::vector<std::int64_t> bins(std::size_t{1} << (8 * sizeof(T)));
  for (const T value : values.span<T>()) ++bins[value];
  return {percentile(bins, values.count(), low_percent, 0, 1), percentile(bins, values.count(), high_percent, 0, 1)};
}

}  // namespace

Dataset subset(const Dataset& data, std::span<const std::int64_t> items) {
  for (const std::int64_t item : items)
    require(item >= 0 && item < data.size(), "subset: item ", item, " of a data set of ", data.size(), " items");
  Dataset part;
  if (data.inputs) part.inputs = gather(data.inputs, items, data.source);
  if (data.lengths) part.lengths = gather(data.lengths, items, data.source);
  if (data.targets) part.targets = gather(data.targets, items, data.source);
  part.task = data.task;
  part.class_names = data.class_names;
  part.target_names = data.target_names;
  part.feature_names = data.feature_names;
  part.names = gather(data.names, items);
  part.groups = gather(data.groups, items);
  part.source = data.source;
  return part;
}

Dataset concatenate(const Dataset& first, const Dataset& second) {
  const auto alike = [](const Tensor& a, const Tensor& b) { return a.dtype() == b.dtype() && a.shape().tail() == b.shape().tail(); };
  require(alike(first.inputs, second.inputs) && alike(first.targets, second.targets) && first.class_names == second.class_names,
          "concatenate: '", first.source, "' and '", second.source, "' hold items of different kinds");
  Dataset both = first;
  both.inputs = join(first.inputs, second.inputs, first.source);
  both.targets = join(first.targets, second.targets, first.source);
  if (first.lengths || second.lengths) both.lengths = join(lengths_of(first), lengths_of(second), first.source);
  const auto add = [&](std::vector<std::string> Dataset::*member) {
    const std::vector<std::string>&a = first.*member, &b = second.*member;
    if (a.empty() && b.empty()) return;
    (both.*member).resize(static_cast<std::size_t>(first.size()));  // "" where one has none
    (both.*member).insert((both.*member).end(), b.begin(), b.end());
    (both.*member).resize(static_cast<std::size_t>(both.size()));
  };
  add(&Dataset::names);
  add(&Dataset::groups);
  return both;
}

void match_classes(Dataset& data, const std::vector<std::string>& class_names) {
  if (data.task != Task::classification || data.class_names == class_names) return;
  const auto counts = class_counts(data);
  std::vector<std::int32_t> to(data.class_names.size(), 0);
  for (std::size_t i = 0; i < to.size(); ++i) {
    const auto found = std::find(class_names.begin(), class_names.end(), data.class_names[i]);
    if (found != class_names.end()) {
      to[i] = static_cast<std::int32_t>(found - class_names.begin());
    } else if (counts[i] > 0) {
      std::string known;
      for (const auto& one : class_names) known += (known.empty() ? "" : ", ") + one;
      reject("'", data.source, "' has class '", data.class_names[i], "', which the network was not trained on (its ", class_names.size(),
             " classes: ", known, ")");
    }
  }
  if (data.targets) {
    const Tensor labels(cpu_backend(), data.targets.spec());  // a new one: other data sets may share the old
    for (std::int64_t i = 0; i < data.size(); ++i)
      labels.as<std::int32_t>()[i] = to[static_cast<std::size_t>(data.targets.as<std::int32_t>()[i])];
    data.targets = labels;
  }
  data.class_names = class_names;
}

std::vector<std::int64_t> class_counts(const Dataset& data) {
  require(data.task == Task::classification, "class_counts: '", data.source, "' is a regression");
  std::vector<std::int64_t> counts(data.class_names.size());
  if (data.targets)
    for (const std::int32_t label : data.targets.span<std::int32_t>()) ++counts[static_cast<std::size_t>(label)];
  return counts;
}

ImageRange image_range(const Dataset& data, double low_percent, double high_percent) {
  require(low_percent >= 0 && low_percent <= high_percent && high_percent <= 100, "image_range: percentages ", low_percent, " and ",
          high_percent, " must ascend within 0..100");
  require(data.inputs && data.inputs.count() > 0, "image_range: '", data.source, "' is empty");
  if (data.inputs.dtype() == DType::uint8) return integer_range<std::uint8_t>(data.inputs, low_percent, high_percent);
  if (data.inputs.dtype() == DType::uint16) return integer_range<std::uint16_t>(data.inputs, low_percent, high_percent);
  const auto values = data.inputs.span<float>();
  const auto [lowest, highest] = std::minmax_element(values.begin(), values.end());
  const double low = *lowest, high = *highest;
  constexpr std::size_t kBins = 65537;  // both ends have a bin
  const double step = (high - low) / (kBins - 1);
  if (step <= 0 || (low_percent == 0 && high_percent == 100)) return {low, high};
  std::vector<std::int64_t> bins(kBins);
  for (const float value : values) ++bins[std::min(kBins - 1, static_cast<std::size_t>((static_cast<double>(value) - low) / step))];
  return {percentile(bins, data.inputs.count(), low_percent, low, step), percentile(bins, data.inputs.count(), high_percent, low, step)};
}

}  // namespace epitaxy
