// Simulated powder patterns as a source of data (powder:count=4000,...) and as a writer of a table.
#include <algorithm>
#include <numeric>
#include <sstream>
#include <tuple>

#include "epitaxy/data/csv.h"
#include "epitaxy/data/powder.h"
#include "file.h"
#include "simulator_keys.h"
#include "source_kinds.h"

namespace epitaxy {

namespace {

/// Names that a table keeps as they are.
void check_class(std::string_view lattice, std::string_view name) {
  if (name.empty()) reject("powder: ", lattice, "= needs the name of a class, or - to leave the lattice out");
  const bool odd = utf8_length(name) < name.size() || name.find('"') != std::string_view::npos || name.front() == ' ' ||
                   name.back() == ' ' || std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 127; });
  if (odd) reject("powder: ", lattice, "=: the name of a class is UTF-8 text without quotes, outer blanks and control characters");
  if (parse_number(name)) reject("powder: ", lattice, "=", name, ": a number would be read as a value; name the class by a word");
}

void set_key(PowderOptions& options, const SimulatorKeys& keys, std::string_view key, std::string_view value) {
  if (key == "count") {
    options.count = keys.whole(key, value);
  } else if (key == "steps") {
    options.steps = keys.whole(key, value);
  } else if (key == "range") {
    std::tie(options.from, options.to) = keys.range(key, value);
  } else if (key == "wavelength") {
    options.wavelength = keys.number(key, value);
  } else if (key == "width") {
    std::tie(options.width_min, options.width_max) = keys.range(key, value);
  } else if (key == "texture") {
    options.texture = keys.number(key, value);
  } else if (key == "seed") {
    options.seed = keys.seed(value);
  } else if (key == "F" || key == "I" || key == "P") {
    check_class(key, value);
    options.names[key == "F" ? 0 : key == "I" ? 1 : 2] = value;
  } else {
    reject("powder: unknown key '", key, "'; known: count, steps, range, wavelength, width, texture, seed, F, I, P");
  }
}

std::vector<std::int64_t> all_items(const PowderOptions& options) {
  std::vector<std::int64_t> items(static_cast<std::size_t>(options.count));
  std::iota(items.begin(), items.end(), std::int64_t{0});
  return items;
}

class PowderSource final : public Source {
 public:
  explicit PowderSource(const DataOptions& options) : powder_(parse_powder(options.data)), name_(options.data) {
    reject_columns(options);
    require(options.task.value_or(Task::classification) == Task::classification,
            "powder: patterns have classes; leave --task out, or train on a table of your own");
  }

  bool has(std::string_view part) const override { return part == "all"; }

  Catalogue open(std::string_view, std::vector<std::string>&) const override {
    Catalogue catalogue;
    const auto classes = static_cast<std::int64_t>(powder_classes(powder_).size());
    for (std::int64_t i = 0; i < powder_.count; ++i) catalogue.strata.push_back(static_cast<std::int32_t>(i % classes));
    catalogue.read = [this](std::span<const std::int64_t> items, std::vector<std::string>&) {
      Dataset data = simulate_powder(powder_, items);
      data.source = name_;
      return data;
    };
    return catalogue;
  }

 private:
  PowderOptions powder_;
  std::string name_;
};

}  // namespace

PowderOptions parse_powder(std::string_view text) {
  PowderOptions options;
  const SimulatorKeys keys("powder");
  bool width_given = false;
  keys.each(text, [&](std::string_view key, std::string_view value) {
    set_key(options, keys, key, value);
    width_given |= key == "width";
  });
  if (!width_given && options.step() > options.width_min) {  // coarse steps see every line
    options.width_min = options.step();
    options.width_max = 2 * options.step();
  }
  check_powder(options);
  return options;
}

std::unique_ptr<Source> open_powder(const DataOptions& options) { return std::make_unique<PowderSource>(options); }

void write_powder(const PowderOptions& options, const std::string& path) {
  const Dataset data = simulate_powder(options, all_items(options));
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out << "class";
  for (const auto& step : data.feature_names) out << ',' << step;
  out << '\n';
  out.precision(6);
  const float* value = data.inputs.as<float>();
  for (std::int64_t i = 0; i < data.size(); ++i) {
    out << data.class_names[static_cast<std::size_t>(data.targets.as<std::int32_t>()[i])];
    for (std::int64_t t = 0; t < options.steps; ++t) out << ',' << *value++;
    out << '\n';
  }
  const std::string all = std::move(out).str();
  write_bytes(path, {reinterpret_cast<const std::uint8_t*>(all.data()), all.size()});
}

}  // namespace epitaxy
