// The simulator as a source of data (lattice:count=4000,...) and as a writer of files.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <tuple>

#include "epitaxy/data/idx.h"
#include "epitaxy/data/image.h"
#include "epitaxy/data/lattice.h"
#include "epitaxy/data/split.h"
#include "file.h"
#include "simulator_keys.h"
#include "source_kinds.h"

namespace epitaxy {

namespace fs = std::filesystem;

namespace {

void set_key(LatticeOptions& options, const SimulatorKeys& keys, std::string_view key, std::string_view value) {
  const auto small = [&] { return static_cast<int>(std::clamp<std::int64_t>(keys.whole(key, value), -1, 1 << 20)); };
  if (key == "count") {
    options.count = keys.whole(key, value);
  } else if (key == "size") {
    options.size = small();
  } else if (key == "depth") {
    options.depth = small();
  } else if (key == "seed") {
    options.seed = keys.seed(value);
  } else if (key == "margin") {
    options.margin = keys.number(key, value);
  } else if (key == "spacing") {
    std::tie(options.spacing_min, options.spacing_max) = keys.range(key, value);
  } else if (key == "thermal") {
    options.thermal = keys.number(key, value);
  } else if (key == "vacancies") {
    options.vacancies = keys.number(key, value);
  } else if (key == "blur") {
    options.blur = keys.number(key, value);
  } else if (key == "noise") {
    options.noise = keys.number(key, value);
  } else {
    reject("lattice: unknown key '", key, "'; known: count, size, depth, seed, margin, spacing, thermal, vacancies, blur, noise");
  }
}

std::vector<std::int32_t> labels_of(const LatticeOptions& options) {
  std::vector<std::int32_t> labels(static_cast<std::size_t>(options.count));
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int32_t>(i % kLatticeNames.size());
  return labels;
}

class LatticeSource final : public Source {
 public:
  explicit LatticeSource(const DataOptions& options) : lattice_(parse_lattice(options.data)), name_(options.data), task_(options.task) {
    reject_columns(options);
  }

  bool has(std::string_view part) const override { return part == "all"; }

  Catalogue open(std::string_view, std::vector<std::string>&) const override {
    Catalogue catalogue;
    catalogue.strata = labels_of(lattice_);
    catalogue.read = [this](std::span<const std::int64_t> items, std::vector<std::string>&) {
      Dataset data = simulate_lattice(lattice_, items);
      data.source = name_;
      for (const std::int64_t item : items) data.names.push_back(text("image ", item));
      if (task_ == Task::regression) {
        const auto labels = data.targets.span<std::int32_t>();
        const std::vector<std::int32_t> values(labels.begin(), labels.end());
        set_labels(data, values, data.class_names, Task::regression);
        data.class_names.clear();
      }
      return data;
    };
    return catalogue;
  }

 private:
  LatticeOptions lattice_;
  std::string name_;
  std::optional<Task> task_;
};

void write_part(const LatticeOptions& options, const fs::path& folder, const std::string& part, ImageFormat format,
                std::span<const std::int64_t> items) {
  if (format == ImageFormat::idx) {
    const Dataset data = simulate_lattice(options, items);
    Tensor labels = allocate_host({DType::uint8, {data.size()}}, "labels");
    for (std::int64_t i = 0; i < data.size(); ++i)
      labels.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(data.targets.as<std::int32_t>()[i]);
    write_idx((folder / (part + "-images-idx3-ubyte")).string(), data.inputs.reshape({data.size(), options.size, options.size}));
    write_idx((folder / (part + "-labels-idx1-ubyte")).string(), labels);
    return;
  }
  for (const auto name : kLatticeNames) fs::create_directories(folder / part / name);
  for (const std::int64_t item : items) {
    const Dataset one = simulate_lattice(options, item, 1);
    const auto name = kLatticeNames[static_cast<std::size_t>(one.targets.as<std::int32_t>()[0])];
    write_png((folder / part / name / text(item, ".png")).string(), one.inputs.reshape({options.size, options.size, 1}));
  }
}

}  // namespace

LatticeOptions parse_lattice(std::string_view spec) {
  LatticeOptions options;
  bool spacing_given = false;
  const SimulatorKeys keys("lattice");
  keys.each(spec, [&](std::string_view key, std::string_view value) {
    set_key(options, keys, key, value);
    spacing_given |= key == "spacing";
  });
  if (!spacing_given && options.size < 4 * options.spacing_max) {  // a small image keeps several cells
    options.spacing_max = std::max(3.0, options.size / 4.0);
    options.spacing_min = std::max(3.0, 0.7 * options.spacing_max);
  }
  check_lattice(options);
  return options;
}

std::unique_ptr<Source> open_lattice(const DataOptions& options) { return std::make_unique<LatticeSource>(options); }

void write_dataset(const LatticeOptions& options, const std::string& folder, ImageFormat format, double test_fraction,
                   std::uint64_t split_seed) {
  check_lattice(options);
  require(format == ImageFormat::png || options.depth == 8, "an IDX file holds 8-bit images; write 16-bit ones as PNG");
  const fs::path target = fs::path(folder).lexically_normal();
  require(!fs::exists(target), "'", folder, "' exists; name a new folder");
  const Split split = split_items(labels_of(options), {}, test_fraction, split_seed, SplitPurpose::test);
  const fs::path part = text(target.string(), ".partial-", ::getpid());
  try {
    fs::create_directories(part);
    write_part(options, part, "train", format, split.kept);
    if (!split.held_out.empty()) write_part(options, part, "test", format, split.held_out);
    fs::rename(part, target);
  } catch (const fs::filesystem_error& error) {
    std::error_code ignored;
    fs::remove_all(part, ignored);
    fail("cannot write '", folder, "': ", error.code().message());
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(part, ignored);
    throw;
  }
}

}  // namespace epitaxy
