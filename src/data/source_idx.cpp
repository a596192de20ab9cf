// A folder of IDX files: <part>-images-idx3-ubyte[.gz] with <part>-labels-idx1-ubyte[.gz].
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "epitaxy/data/idx.h"
#include "epitaxy/data/split.h"
#include "file.h"
#include "source_kinds.h"

namespace epitaxy {

namespace fs = std::filesystem;

Tensor read_idx_images(const std::string& path) {
  Tensor images = read_idx(path);
  const int rank = images.shape().rank();
  if (rank < 3) reject("'", path, "' holds ", images.spec(), ": images have 3 or 4 dimensions");
  if (images.dtype() == DType::int32) reject("'", path, "' holds int32 values; save images as uint8, int16 or fp32");
  if (images.count() == 0) reject("'", path, "' holds no images");
  if (images.dtype() == DType::fp32)
    for (const float& value : images.span<float>())
      if (!std::isfinite(value)) {
        const std::int64_t item = (&value - images.as<float>()) / images.shape().tail().count();
        fail("'", path, "' item ", item, " holds a value that is not finite (", value, "); clean the images");
      }
  if (rank == 3) images = images.reshape({images.dim(0), images.dim(1), images.dim(2), 1});
  return images;
}

namespace {

class IdxSource final : public Source {
 public:
  explicit IdxSource(const DataOptions& options) : options_(options) { reject_columns(options); }

  bool has(std::string_view part) const override { return !find(part, "images").empty(); }

  Catalogue open(std::string_view part, std::vector<std::string>&) const override {
    const std::string image_path = find(part, "images"), label_path = find(part, "labels");
    if (label_path.empty()) reject("'", image_path, "' has no labels beside it (", part, "-labels-idx1-ubyte)");
    const Tensor labels = read_idx(label_path);
    auto data = std::make_shared<Dataset>();
    data->source = options_.data + " (" + std::string(part) + ")";
    Catalogue catalogue;
    if (labels.dtype() == DType::fp32) {
      set_values(*data, labels, label_path);
      catalogue.strata = first_target_strata(*data);
    } else {
      catalogue.strata = integers(labels, label_path);
      const std::int32_t last = catalogue.strata.empty() ? 0 : *std::max_element(catalogue.strata.begin(), catalogue.strata.end());
      std::vector<std::string> names;
      for (std::int32_t label = 0; label <= last; ++label) names.push_back(std::to_string(label));
      set_labels(*data, catalogue.strata, names, options_.task.value_or(Task::classification));
    }
    data->inputs = read_idx_images(image_path);
    if (data->size() != labels.dim(0))
      reject("'", image_path, "' has ", data->size(), " images, but '", label_path, "' has ", labels.dim(0), " labels");
    catalogue.read = [data](std::span<const std::int64_t> items, std::vector<std::string>&) {
      return static_cast<std::int64_t>(items.size()) == data->size() ? *data : subset(*data, items);
    };
    return catalogue;
  }

  static bool is_idx(std::string_view file, std::string_view part, std::string_view kind) {
    const std::string start = std::string(part) + "-" + std::string(kind);
    if (!file.starts_with(start)) return false;
    file.remove_prefix(start.size());
    return file.starts_with("-idx") || file.starts_with(".idx");
  }

 private:
  /// Path of the images or labels of a part; the file that is not compressed where both exist; empty where none does.
  std::string find(std::string_view part, std::string_view kind) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(options_.data))
      for (const auto& name : aliases(part))
        if (is_idx(entry.path().filename().string(), name, kind)) found.push_back(entry.path().string());
    return found.empty() ? std::string() : *std::min_element(found.begin(), found.end());
  }

  static std::vector<std::int32_t> integers(const Tensor& labels, const std::string& path) {
    if (labels.shape().rank() != 1) reject("'", path, "' holds ", labels.spec(), ": labels have one dimension");
    constexpr std::int32_t kMostClasses = 100000;
    std::vector<std::int32_t> values(static_cast<std::size_t>(labels.dim(0)));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = labels.dtype() == DType::uint8    ? labels.as<std::uint8_t>()[i]
                  : labels.dtype() == DType::uint16 ? labels.as<std::uint16_t>()[i]
                                                    : labels.as<std::int32_t>()[i];
      if (values[i] < 0 || values[i] >= kMostClasses)
        reject("'", path, "' item ", i, ": label ", values[i], " is outside 0..", kMostClasses - 1,
               "; for a regression store labels as fp32");
    }
    return values;
  }

  void set_values(Dataset& data, const Tensor& labels, const std::string& path) const {
    if (options_.task == Task::classification) reject("'", path, "' holds fp32 values: a classification needs integer labels");
    if (labels.shape().rank() > 2) reject("'", path, "' holds ", labels.spec(), ": targets have one or two dimensions");
    data.task = Task::regression;
    data.targets = labels.shape().rank() == 2 ? labels : labels.reshape({labels.dim(0), 1});
    const std::int64_t targets = data.targets.dim(1);
    for (std::int64_t t = 0; t < targets; ++t) data.target_names.push_back(targets == 1 ? "label" : text("label ", t));
    for (std::int64_t i = 0; i < labels.count(); ++i)
      if (!std::isfinite(labels.as<float>()[i])) reject("'", path, "' item ", i / targets, ": the target is not a finite number");
  }

  static std::vector<std::int32_t> first_target_strata(const Dataset& data) {
    std::vector<float> first;
    for (std::int64_t i = 0; i < data.targets.dim(0); ++i) first.push_back(data.targets.as<float>()[i * data.targets.dim(1)]);
    return value_strata(first);
  }

  DataOptions options_;
};

}  // namespace

std::unique_ptr<Source> find_idx(const DataOptions& options) {
  for (const auto& entry : fs::directory_iterator(options.data)) {
    const std::string name = entry.path().filename().string();
    const std::size_t at = name.find("-images");
    if (at != std::string::npos && IdxSource::is_idx(name, name.substr(0, at), "images")) return std::make_unique<IdxSource>(options);
  }
  return nullptr;
}

}  // namespace epitaxy
