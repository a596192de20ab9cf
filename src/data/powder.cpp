// Powder patterns: lines, then steps. Formulas in powder.h.
#include "epitaxy/data/powder.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <locale>
#include <map>
#include <numbers>
#include <numeric>
#include <sstream>

#include "epitaxy/error.h"
#include "epitaxy/philox.h"
#include "file.h"

namespace epitaxy {

namespace {

constexpr std::uint32_t kCrystalDraws = 3, kPatternDraws = 4;  // Philox ordinals; lattice.cpp has 0 to 2
constexpr double kDegree = std::numbers::pi / 180;
constexpr std::array<char, 3> kLattices{'F', 'I', 'P'};

/// How many reflections symmetry m-3 makes of hkl, h >= k >= l >= 0 or h, l, k: all signs, cyclic permutations.
int multiplicity(int h, int k, int l) {
  const int signs = 1 << ((h != 0) + (k != 0) + (l != 0));
  return h == k && k == l ? signs : 3 * signs;
}

/// The atoms of a cell with their atomic numbers.
struct Cell {
  std::vector<std::array<double, 3>> at;
  std::vector<double> electrons;

  explicit Cell(const PowderCrystal& crystal) {
    for (std::size_t site = 0; site < crystal.structure->sites.size(); ++site)
      for (const auto& atom : orbit(crystal.structure->group, crystal.structure->sites[site])) {
        at.push_back(atom);
        electrons.push_back(crystal.elements[site]);
      }
  }

  /// |sum Z exp(2 pi i hx)|^2: all factors fall alike with the angle.
  double squared(int h, int k, int l) const {
    std::complex<double> sum = 0;
    for (std::size_t i = 0; i < at.size(); ++i) {
      const double phase = 2 * std::numbers::pi * (h * at[i][0] + k * at[i][1] + l * at[i][2]);
      sum += electrons[i] * std::complex(std::cos(phase), std::sin(phase));
    }
    return std::norm(sum);
  }
};

void paint(const PowderOptions& options, std::span<const PowderLine> lines, Random& random, float* pattern) {
  const double step = options.step();
  const double width = random.uniform(options.width_min, options.width_max), reach = 1.5 * width;
  std::vector<double> sum(static_cast<std::size_t>(options.steps));
  for (const PowderLine& line : lines) {
    const double height = line.intensity * random.uniform(1 - options.texture, 1 + options.texture);
    const double middle = (line.two_theta - options.from) / step - 0.5;  // in steps
    const auto first = std::max<std::int64_t>(0, std::llround(std::ceil(middle - reach / step)));
    const auto last = std::min<std::int64_t>(options.steps - 1, std::llround(std::floor(middle + reach / step)));
    for (std::int64_t t = first; t <= last; ++t) {
      const double off = (static_cast<double>(t) - middle) * step / width;
      sum[static_cast<std::size_t>(t)] += height * std::exp2(-4 * off * off);
    }
  }
  const double top = *std::max_element(sum.begin(), sum.end());
  std::transform(sum.begin(), sum.end(), pattern, [&](double value) { return top > 0 ? static_cast<float>(value / top) : 0.0f; });
}

/// The letters of the lattices of a class.
std::string lattices_of(const PowderOptions& options, const std::string& name) {
  std::string found;
  for (std::size_t i = 0; i < kLattices.size(); ++i)
    if (options.names[i] == name) found.push_back(kLattices[i]);
  return found;
}

}  // namespace

void check_powder(const PowderOptions& o) {
  const auto in = [](double value, double low, double high) { return value >= low && value <= high; };
  require(o.count >= 1 && o.count <= 10000000, "powder: count=", o.count, " is outside 1..10^7");
  require(o.steps >= 16 && o.steps <= 65536, "powder: steps=", o.steps, " is outside 16..65536");
  require(o.from >= 0 && o.from < o.to && o.to <= 160, "powder: range=", o.from, "-", o.to,
          " must be low-high, ascending within 0..160 degrees");
  require(in(o.wavelength, 0.1, 3), "powder: wavelength=", o.wavelength, " is outside 0.1..3 angstrom");
  require(std::sin(o.to / 2 * kDegree) / o.wavelength <= 1.2, "powder: range and wavelength: sin(theta) / wavelength goes up to ",
          std::sin(o.to / 2 * kDegree) / o.wavelength, " per angstrom; 1.2 is the most: end the range sooner or take a longer wavelength");
  require(o.width_min >= 0.01 && o.width_min <= o.width_max && o.width_max <= 5, "powder: width=", o.width_min, "-", o.width_max,
          " must be low-high, ascending within 0.01..5 degrees");
  require(o.width_min >= o.step() / 3, "powder: width=", o.width_min, ": a line would fall between steps of ", o.step(),
          " degrees; take at least a third of a step");
  require(in(o.texture, 0, 0.9), "powder: texture=", o.texture, " is outside 0..0.9");
  require(powder_classes(o).size() >= 2, "powder: F, I and P name fewer than two classes");
}

std::vector<std::string> powder_classes(const PowderOptions& options) {
  std::vector<std::string> classes;
  for (const auto& name : options.names)
    if (name != "-") classes.push_back(name);
  std::sort(classes.begin(), classes.end());
  classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  return classes;
}

std::vector<PowderLine> powder_lines(const PowderCrystal& crystal, double wavelength, double to) {
  const Cell cell(crystal);
  const double edge = 2 * crystal.a / wavelength, sine = std::sin(std::min(to, 180.0) / 2 * kDegree);
  const int most = static_cast<int>(std::floor(edge * edge * sine * sine * (1 + 1e-12)));  // of h^2 + k^2 + l^2
  std::map<int, double> squares;
  for (int h = 1; h * h <= most; ++h)
    for (int k = 0; k <= h && h * h + k * k <= most; ++k)
      for (int l = 0; l <= k && h * h + k * k + l * l <= most; ++l) {
        double& sum = squares[h * h + k * k + l * l];
        sum += multiplicity(h, k, l) * cell.squared(h, k, l);
        if (h != k && k != l) sum += multiplicity(h, l, k) * cell.squared(h, l, k);  // m-3 does not make it of hkl
      }
  std::vector<PowderLine> lines;
  double strongest = 0;
  const double all = std::accumulate(cell.electrons.begin(), cell.electrons.end(), 0.0);
  for (const auto& [square, sum] : squares) {
    if (sum <= 1e-16 * all * all) continue;  // extinct: what rounding leaves
    const double theta = std::asin(std::min(1.0, std::sqrt(square) / edge)), s = std::sin(theta) / wavelength;
    const double factor = std::exp(-crystal.b * s * s) / (1 + s * s / (0.45 * 0.45));
    const double lorentz = (1 + std::pow(std::cos(2 * theta), 2)) / (std::pow(std::sin(theta), 2) * std::cos(theta));
    lines.push_back({2 * theta / kDegree, sum * factor * factor * lorentz, square});
    strongest = std::max(strongest, lines.back().intensity);
  }
  std::erase_if(lines, [&](const PowderLine& line) { return line.intensity <= 1e-9 * strongest; });
  return lines;
}

namespace {

PowderCrystal draw_crystal(std::string_view lattices, Random& random) {
  const auto structures = cubic_structures(lattices[random.below(lattices.size())]);
  PowderCrystal crystal;
  crystal.structure = &structures[random.below(structures.size())];
  std::size_t atoms = 0;
  for (const auto& site : crystal.structure->sites) {
    atoms += orbit(crystal.structure->group, site).size();
    int element = 0;
    do element = static_cast<int>(3 + random.below(90));
    while (std::find(crystal.elements.begin(), crystal.elements.end(), element) != crystal.elements.end());
    crystal.elements.push_back(element);
  }
  crystal.a = std::cbrt(static_cast<double>(atoms) * 17 * std::exp(0.4 * random.normal()));
  crystal.b = random.uniform(0.2, 1.5);
  return crystal;
}

struct Specimen {
  PowderCrystal crystal;
  std::vector<PowderLine> lines;  // up to the last one whose flank reaches into the range
};

/// The crystal of a pattern: the first drawn with a line in the range.
Specimen draw_specimen(const PowderOptions& options, std::int64_t index) {
  Random random(options.seed, RandomPurpose::simulate, kCrystalDraws, static_cast<std::uint32_t>(index));
  const auto classes = powder_classes(options);
  const auto lattices = lattices_of(options, classes[static_cast<std::size_t>(index) % classes.size()]);
  const auto inside = [&](const PowderLine& line) { return line.two_theta >= options.from && line.two_theta <= options.to; };
  constexpr int kTries = 1000;
  for (int i = 0; i < kTries; ++i) {
    Specimen drawn;
    drawn.crystal = draw_crystal(lattices, random);
    drawn.lines = powder_lines(drawn.crystal, options.wavelength, options.to + 1.5 * options.width_max);
    if (std::any_of(drawn.lines.begin(), drawn.lines.end(), inside)) return drawn;
  }
  reject("powder: range=", options.from, "-", options.to, ": no crystal has a line there; take a wider range");
}

}  // namespace

PowderCrystal powder_crystal(const PowderOptions& options, std::int64_t index) { return draw_specimen(options, index).crystal; }

std::vector<std::string> powder_steps(const PowderOptions& options) {
  std::vector<std::string> names;
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out.precision(10);
  for (std::int64_t t = 0; t < options.steps; ++t) {
    out.str("");
    out << options.from + (static_cast<double>(t) + 0.5) * options.step();
    names.push_back(out.str());
  }
  return names;
}

Dataset simulate_powder(const PowderOptions& options, std::span<const std::int64_t> items) {
  check_powder(options);
  const auto count = static_cast<std::int64_t>(items.size());
  Dataset data;
  data.source = text("powder:seed=", options.seed);
  data.class_names = powder_classes(options);
  data.feature_names = powder_steps(options);
  data.inputs = allocate_host({DType::fp32, {count, options.steps, 1}}, "simulated patterns");
  data.targets = allocate_host({DType::int32, {count}}, "labels");
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t item = items[static_cast<std::size_t>(i)];
    require(item >= 0 && item < options.count, "powder: pattern ", item, " of ", options.count);
    const auto lines = draw_specimen(options, item).lines;
    Random random(options.seed, RandomPurpose::simulate, kPatternDraws, static_cast<std::uint32_t>(item));
    paint(options, lines, random, data.inputs.as<float>() + i * options.steps);
    data.targets.as<std::int32_t>()[i] = static_cast<std::int32_t>(item % static_cast<std::int64_t>(data.class_names.size()));
    data.names.push_back(text("pattern ", item));
  }
  return data;
}

}  // namespace epitaxy
