// Sequences as NumPy arrays: x [N, T, F] or [N, T], y and perhaps lengths, in an .npz file or a folder of .npy files; parts by name:
// x_train, y_train, x_test...
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "epitaxy/data/npy.h"
#include "epitaxy/data/split.h"
#include "file.h"
#include "source_kinds.h"

namespace epitaxy {

namespace fs = std::filesystem;

namespace {

using Arrays = std::map<std::string, Tensor>;  // by name in small letters

std::string in_small_letters(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

Arrays read_all(const std::string& path) {
  Arrays arrays;
  if (!fs::is_directory(path)) {
    for (const auto& [name, array] : read_npz(path)) arrays[in_small_letters(name)] = array;
    return arrays;
  }
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.path().extension() == ".npy") arrays[in_small_letters(entry.path().stem().string())] = read_npy(entry.path().string());
  return arrays;
}

Tensor as_fp32(const Tensor& array, const std::string& what) {
  if (array.dtype() == DType::fp32) return array;
  const Tensor values = allocate_host({DType::fp32, array.shape()}, what);
  std::copy_n(array.as<std::int32_t>(), array.count(), values.as<float>());
  return values;
}

/// int32 [N] of values in low..high.
Tensor whole_numbers(const Tensor& array, std::int64_t items, std::int64_t low, std::int64_t high, const std::string& what) {
  if (array.dtype() != DType::int32 || array.count() != items)
    reject(what, " is ", array.spec(), "; it takes one whole number for each of the ", items, " items of x");
  const auto values = array.span<std::int32_t>();
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] < low || values[i] > high) fail(what, " item ", i, ": ", values[i], " is outside ", low, "..", high);
  return array.reshape({items});
}

/// Inputs [N, T, F] and lengths; finite up to each length, 0 beyond.
Dataset sequences_of(const Tensor& x, const Tensor& lengths, const std::string& source, const std::string& what) {
  Dataset data;
  data.source = source;
  const int rank = x.shape().rank();
  if (rank != 2 && rank != 3) reject(what, " is ", x.spec(), "; sequences are [items, steps, channels] or [items, steps]");
  if (x.count() == 0) fail(what, " is ", x.spec(), ": it holds no values");
  data.inputs = as_fp32(rank == 2 ? x.reshape({x.dim(0), x.dim(1), 1}) : x, what);
  const std::int64_t items = x.dim(0), steps = x.dim(1), channels = data.inputs.dim(2);
  if (lengths) data.lengths = whole_numbers(lengths, items, 1, steps, what + " lengths");
  for (std::int64_t i = 0; i < items; ++i) {
    const std::int64_t length = lengths ? data.lengths.as<std::int32_t>()[i] : steps;
    float* values = data.inputs.as<float>() + i * steps * channels;
    for (std::int64_t v = 0; v < length * channels; ++v)
      if (!std::isfinite(values[v]))
        fail(what, " item ", i, ", step ", v / channels, ", channel ", v % channels, ": ", values[v], " is not a finite number");
    std::fill(values + length * channels, values + steps * channels, 0.0f);
    data.names.push_back(text("item ", i));
  }
  return data;
}

class ArraySource final : public Source {
 public:
  ArraySource(const DataOptions& options, Arrays arrays) : options_(options), arrays_(std::move(arrays)) { reject_columns(options); }

  bool has(std::string_view part) const override { return !name_of("x", part).empty(); }

  Catalogue open(std::string_view part, std::vector<std::string>&) const override {
    const auto data = std::make_shared<Dataset>(
        sequences_of(at(name_of("x", part)), at(name_of("lengths", part)), options_.data, what(name_of("x", part))));
    const std::string y = name_of("y", part);
    if (y.empty()) reject(what(name_of("x", part)), " has no targets beside it; add the array y", part == "all" ? "" : text("_", part));
    Catalogue catalogue;
    catalogue.strata = set_targets(*data, arrays_.at(y), what(y));
    if (const Tensor groups = at(name_of("groups", part))) {
      const Tensor numbers = whole_numbers(groups, data->size(), INT32_MIN, INT32_MAX, what(name_of("groups", part)));
      for (const std::int32_t group : numbers.span<std::int32_t>()) data->groups.push_back(std::to_string(group));
      catalogue.groups = data->groups;
    }
    catalogue.read = [data](std::span<const std::int64_t> items, std::vector<std::string>&) { return subset(*data, items); };
    return catalogue;
  }

 private:
  /// "x" of the whole, "x_train" of a part; "" where there is none.
  std::string name_of(const std::string& name, std::string_view part) const {
    if (part == "all") return arrays_.contains(name) ? name : "";
    for (const auto& alias : aliases(part))
      if (arrays_.contains(name + "_" + alias)) return name + "_" + alias;
    return {};
  }
  Tensor at(const std::string& name) const { return name.empty() ? Tensor() : arrays_.at(name); }
  std::string what(const std::string& name) const { return text("'", options_.data, "' array '", name, "'"); }

  /// Labels or values; answers what a split keeps in proportion.
  std::vector<std::int32_t> set_targets(Dataset& data, const Tensor& y, const std::string& where) const {
    const std::string train = name_of("y", "train");  // decides for the other parts
    const bool whole = (train.empty() ? y : arrays_.at(train)).dtype() == DType::int32;
    if (y.shape().rank() < 1 || y.shape().rank() > 2 || y.dim(0) != data.size() || y.count() == 0)
      reject(where, " is ", y.spec(), "; targets are [items] or [items, targets] for the ", data.size(), " items of x");
    if (options_.task.value_or(whole ? Task::classification : Task::regression) == Task::classification) {
      require(options_.target_cap == 0, "--target-cap is for the values of a regression");
      const auto labels = whole_numbers(y, data.size(), INT32_MIN, INT32_MAX, where).span<std::int32_t>();
      const std::set<std::int32_t> distinct(labels.begin(), labels.end());
      if (distinct.size() > 10 && 2 * distinct.size() > labels.size())
        reject(where, " has ", distinct.size(), " different values in ", labels.size(),
               " items: that is no class; choose --task regression");
      std::vector<std::string> names;
      names.reserve(distinct.size());
      std::vector<std::int32_t> classes;
      for (const std::int32_t value : distinct) names.push_back(std::to_string(value));
      for (const std::int32_t label : labels)
        classes.push_back(static_cast<std::int32_t>(std::distance(distinct.begin(), distinct.find(label))));
      set_labels(data, classes, names, Task::classification);
      return classes;
    }
    const std::int64_t width = y.count() / data.size();
    data.task = Task::regression;
    data.targets = as_fp32(y.reshape({data.size(), width}), where);
    std::vector<float> first;
    for (std::int64_t t = 0; t < width; ++t) data.target_names.push_back(width == 1 ? "y" : text("y ", t));
    for (std::int64_t i = 0; i < y.count(); ++i) {
      float& value = data.targets.as<float>()[i];
      if (!std::isfinite(value)) fail(where, " item ", i / width, ": the target is not a finite number");
      if (options_.target_cap > 0) value = std::min(value, static_cast<float>(options_.target_cap));
      if (i % width == 0) first.push_back(value);
    }
    return value_strata(first);
  }

  DataOptions options_;
  Arrays arrays_;
};

}  // namespace

bool is_array_name(const std::string& path) { return path.ends_with(".npy") || path.ends_with(".npz"); }

std::unique_ptr<Source> find_arrays(const DataOptions& options) {
  if (fs::is_directory(options.data)) {
    const auto entries = fs::directory_iterator(options.data);
    const bool any = std::any_of(begin(entries), end(entries), [](const auto& entry) {
      const std::string name = in_small_letters(entry.path().filename().string());
      return name == "x.npy" || (name.starts_with("x_") && name.ends_with(".npy"));
    });
    return any ? std::make_unique<ArraySource>(options, read_all(options.data)) : nullptr;
  }
  if (!is_array_name(options.data)) return nullptr;
  if (options.data.ends_with(".npy"))
    reject("'", options.data, "' is one array; name the folder that holds x.npy and y.npy, or save both with numpy.savez");
  Arrays arrays = read_all(options.data);
  const bool any =
      std::any_of(arrays.begin(), arrays.end(), [](const auto& one) { return one.first == "x" || one.first.starts_with("x_"); });
  if (!any) reject("'", options.data, "' holds no array x or x_train; save it with numpy.savez(file, x=..., y=...)");
  return std::make_unique<ArraySource>(options, std::move(arrays));
}

Dataset read_arrays(const std::string& path) {
  const std::string where = text("'", path, "'");
  if (path.ends_with(".npy")) return sequences_of(read_npy(path), {}, path, where);
  Arrays arrays = read_all(path);
  if (!arrays.contains("x")) reject(where, " holds no array x; save it with numpy.savez(file, x=...)");
  return sequences_of(arrays["x"], arrays["lengths"], path, where + " array 'x'");
}

}  // namespace epitaxy
