// The simulator: cells, sites, spots, counts. Formulas in lattice.h.
#include "epitaxy/data/lattice.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "epitaxy/philox.h"
#include "file.h"

namespace epitaxy {

namespace {

using Vector = std::array<double, 2>;

enum Lattice : int { centred_rectangular, hexagonal, oblique, rectangular, square };

constexpr std::uint32_t kCellDraws = 0, kSiteDraws = 1, kCountDraws = 2;  // Philox ordinals

/// Log of the ratio b/a of a conventional centred rectangular cell.
double draw_centred(const LatticeOptions& options, Random& random) {
  const double hexagon = std::log(std::numbers::sqrt3), m = options.margin;
  const double below = hexagon - 2 * m, above = 0.4 - m;  // lengths of the two intervals
  const double at = random.uniform(0, below + above);
  return at < below ? m + at : hexagon + m + (at - below);
}

/// t of a reduced oblique cell.
Vector draw_oblique(const LatticeOptions& options, Random& random) {
  for (;;) {
    const double x = random.uniform(0, 0.5), y = random.uniform(0.8, 1.9);
    const double nearest = std::min({std::asinh(x / y), std::asinh((0.5 - x) / y), std::asinh((x * x + y * y - 1) / (2 * y))});
    if (nearest >= options.margin) return {x, y};
  }
}

/// Adds a spot at `site`, cut off at 5 widths (3.7e-6 of its peak).
void add_spot(std::vector<double>& intensity, int size, const Vector& site, double width, std::vector<double>& row) {
  const double reach = 5 * width, factor = -0.5 / (width * width);
  const int x0 = std::max(0, static_cast<int>(std::ceil(site[0] - reach))),
            x1 = std::min(size - 1, static_cast<int>(std::floor(site[0] + reach)));
  const int y0 = std::max(0, static_cast<int>(std::ceil(site[1] - reach))),
            y1 = std::min(size - 1, static_cast<int>(std::floor(site[1] + reach)));
  for (int x = x0; x <= x1; ++x) row[static_cast<std::size_t>(x)] = std::exp(factor * (x - site[0]) * (x - site[0]));
  for (int y = y0; y <= y1; ++y) {
    const double column = std::exp(factor * (y - site[1]) * (y - site[1]));
    double* at = intensity.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(size);
    for (int x = x0; x <= x1; ++x) at[x] += column * row[static_cast<std::size_t>(x)];
  }
}

/// The noise-free intensity I, [size, size].
void paint(const LatticeOptions& options, const LatticeCell& cell, std::int64_t index, std::vector<double>& intensity,
           std::vector<double>& row) {
  const double width = std::sqrt(0.0144 * cell.spacing * cell.spacing + cell.spot * cell.spot);
  const double border = 5 * width + 5 * cell.thermal * cell.spacing, size = options.size;
  std::fill(intensity.begin(), intensity.end(), cell.background);
  Random random(options.seed, RandomPurpose::simulate, kSiteDraws, static_cast<std::uint32_t>(index));
  // Every lattice point whose spot can reach the image: the corners of the image with its border bound the indices.
  const double area = cell.a[0] * cell.b[1] - cell.a[1] * cell.b[0];
  double low[2] = {1e9, 1e9}, high[2] = {-1e9, -1e9};
  for (const double x : {-border, size - 1 + border})
    for (const double y : {-border, size - 1 + border}) {
      const double dx = x - cell.origin[0], dy = y - cell.origin[1];
      const double along[2] = {(dx * cell.b[1] - dy * cell.b[0]) / area, (cell.a[0] * dy - cell.a[1] * dx) / area};
      for (int i = 0; i < 2; ++i) low[i] = std::min(low[i], along[i]), high[i] = std::max(high[i], along[i]);
    }
  const auto add = [&](double h, double k) {
    Vector site{cell.origin[0] + h * cell.a[0] + k * cell.b[0], cell.origin[1] + h * cell.a[1] + k * cell.b[1]};
    if (site[0] < -border || site[1] < -border || site[0] > size - 1 + border || site[1] > size - 1 + border) return;
    const bool vacant = random.uniform() < cell.vacancies;
    const double step = cell.thermal * cell.spacing, dx = step * random.normal(), dy = step * random.normal();
    if (!vacant) add_spot(intensity, options.size, {site[0] + dx, site[1] + dy}, width, row);
  };
  for (double h = std::floor(low[0]) - 1; h <= high[0] + 1; ++h)
    for (double k = std::floor(low[1]) - 1; k <= high[1] + 1; ++k) {
      add(h, k);
      if (cell.centred) add(h + 0.5, k + 0.5);
    }
}

/// Counts and scales: value = round(0.6 top q^2 Poisson(I / q^2)).
template <class T>
void count_electrons(const LatticeOptions& options, const LatticeCell& cell, std::int64_t index, const std::vector<double>& intensity,
                     T* pixels) {
  const double top = options.depth == 8 ? 255 : 65535, variance = cell.noise * cell.noise;
  Random random(options.seed, RandomPurpose::simulate, kCountDraws, static_cast<std::uint32_t>(index));
  for (std::size_t i = 0; i < intensity.size(); ++i) {
    const double seen = variance > 0 ? variance * static_cast<double>(random.poisson(intensity[i] / variance)) : intensity[i];
    pixels[i] = static_cast<T>(std::min(top, std::round(0.6 * top * seen)));
  }
}

}  // namespace

void check_lattice(const LatticeOptions& o) {
  const auto in = [](double value, double low, double high) { return value >= low && value <= high; };
  require(o.count >= 1 && o.count <= 10000000, "lattice: count=", o.count, " is outside 1..10^7");
  require(o.size >= 16 && o.size <= 4096, "lattice: size=", o.size, " is outside 16..4096");
  require(o.depth == 8 || o.depth == 16, "lattice: depth=", o.depth, "; it is 8 or 16");
  require(in(o.margin, 0.02, 0.18), "lattice: margin=", o.margin, " is outside 0.02..0.18");
  require(o.spacing_min >= 3 && o.spacing_min <= o.spacing_max && o.spacing_max <= o.size / 4.0, "lattice: spacing=", o.spacing_min, "-",
          o.spacing_max, " must ascend within 3..size/4 pixels");
  require(in(o.thermal, 0, 0.2), "lattice: thermal=", o.thermal, " is outside 0..0.2");
  require(in(o.vacancies, 0, 0.5), "lattice: vacancies=", o.vacancies, " is outside 0..0.5");
  require(in(o.blur, 0, 10), "lattice: blur=", o.blur, " is outside 0..10");
  require(in(o.noise, 0, 1), "lattice: noise=", o.noise, " is outside 0..1");
}

LatticeCell lattice_cell(const LatticeOptions& options, std::int64_t index) {
  Random random(options.seed, RandomPurpose::simulate, kCellDraws, static_cast<std::uint32_t>(index));
  LatticeCell cell;
  cell.label = static_cast<int>(index % 5);
  cell.spacing = random.uniform(options.spacing_min, options.spacing_max);
  const double angle = random.uniform(0, 2 * std::numbers::pi);
  cell.origin = {random.uniform(0, options.size), random.uniform(0, options.size)};
  cell.thermal = random.uniform(0, options.thermal);
  cell.vacancies = random.uniform(0, options.vacancies);
  cell.spot = random.uniform(0, options.blur);
  cell.background = random.uniform(0.05, 0.25);
  cell.noise = random.uniform(options.noise / 3, options.noise);
  const bool mirrored = random.uniform() < 0.5;

  // The conventional cell with a = (1, 0) and b = t, then scaled to the area per site, turned, perhaps mirrored.
  Vector t{0, 1};
  switch (cell.label) {
    case centred_rectangular: t = {0, std::exp(draw_centred(options, random))}; break;
    case hexagonal: t = {0.5, 0.5 * std::numbers::sqrt3}; break;
    case oblique: t = draw_oblique(options, random); break;
    case rectangular: t = {0, std::exp(random.uniform(options.margin, 0.65))}; break;
    default: break;
  }
  cell.centred = cell.label == centred_rectangular;
  const double sites = cell.centred ? 2 : 1, scale = cell.spacing * std::sqrt(sites / t[1]);
  const double c = scale * std::cos(angle), s = scale * std::sin(angle), hand = mirrored ? -1 : 1;
  cell.a = {c, s};
  cell.b = {c * t[0] - hand * s * t[1], s * t[0] + hand * c * t[1]};
  return cell;
}

Dataset simulate_lattice(const LatticeOptions& options, std::span<const std::int64_t> items) {
  check_lattice(options);
  const auto count = static_cast<std::int64_t>(items.size());
  Dataset data;
  data.source = text("lattice:seed=", options.seed);
  data.class_names.assign(kLatticeNames.begin(), kLatticeNames.end());
  data.inputs =
      allocate_host({options.depth == 8 ? DType::uint8 : DType::uint16, {count, options.size, options.size, 1}}, "simulated images");
  data.targets = allocate_host({DType::int32, {count}}, "labels");
  const auto pixels = static_cast<std::size_t>(options.size) * static_cast<std::size_t>(options.size);
  std::vector<double> intensity(pixels), row(static_cast<std::size_t>(options.size));
  for (std::size_t i = 0; i < items.size(); ++i) {
    require(items[i] >= 0 && items[i] < options.count, "lattice: image ", items[i], " of ", options.count);
    const LatticeCell cell = lattice_cell(options, items[i]);
    paint(options, cell, items[i], intensity, row);
    if (options.depth == 8)
      count_electrons(options, cell, items[i], intensity, data.inputs.as<std::uint8_t>() + i * pixels);
    else
      count_electrons(options, cell, items[i], intensity, data.inputs.as<std::uint16_t>() + i * pixels);
    data.targets.as<std::int32_t>()[i] = cell.label;
  }
  return data;
}

Dataset simulate_lattice(const LatticeOptions& options, std::int64_t first, std::int64_t count) {
  require(first >= 0 && count >= 0, "lattice: images ", first, " to ", first + count);
  std::vector<std::int64_t> items(static_cast<std::size_t>(count));
  std::iota(items.begin(), items.end(), first);
  return simulate_lattice(options, items);
}

}  // namespace epitaxy
