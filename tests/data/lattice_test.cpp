// The simulator: cells keep their distance from higher symmetry; noise-free images have the reciprocal lattice, the extinctions and the
// point group of their cell; defects and noise follow their formulas; files hold what the source gives.
#include "epitaxy/data/lattice.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <numbers>

#include "epitaxy/data/source.h"
#include "epitaxy/data/twins.h"
#include "files.h"

namespace epitaxy::test {

using Vector = std::array<double, 2>;
using Complex = std::complex<double>;

enum Label : int { kCentred, kHexagonal, kOblique, kRectangular, kSquare };

Vector operator+(Vector p, Vector q) { return {p[0] + q[0], p[1] + q[1]}; }
Vector operator*(double s, Vector p) { return {s * p[0], s * p[1]}; }
double dot(Vector p, Vector q) { return p[0] * q[0] + p[1] * q[1]; }
double cross(Vector p, Vector q) { return p[0] * q[1] - p[1] * q[0]; }

/// t of the reduced primitive cell (Gauss), 0 <= Re t <= 1/2.
Complex reduced(const LatticeCell& cell) {
  Vector p = cell.a, q = cell.centred ? 0.5 * (cell.a + cell.b) : cell.b;
  for (;;) {
    if (dot(q, q) < dot(p, p)) std::swap(p, q);
    const double along = dot(p, q) / dot(p, p);
    if (std::fabs(along) <= 0.5 + 1e-9) break;  // hexagonal cells lie on the border
    q = q + (-std::round(along)) * p;
  }
  return {std::fabs(dot(p, q)) / dot(p, p), std::fabs(cross(p, q)) / dot(p, p)};
}

double hyperbolic(Complex s, Complex t) { return std::acosh(1 + std::norm(s - t) / (2 * s.imag() * t.imag())); }

/// Distance to the nearest lattice of a class, by walking along the wall of the domain that it fills.
double distance_to(Label label, Complex t) {
  const Complex square(0, 1), hexagon(0.5, std::numbers::sqrt3 / 2);
  if (label == kSquare) return hyperbolic(t, square);
  if (label == kHexagonal) return hyperbolic(t, hexagon);
  double nearest = 1e9;
  for (double u = 0; u <= 1.2; u += 0.0005) {
    if (label == kRectangular) nearest = std::min(nearest, hyperbolic(t, {0, std::exp(u)}));
    if (label == kCentred) {
      nearest = std::min(nearest, hyperbolic(t, {0.5, hexagon.imag() * std::exp(u)}));
      nearest = std::min(nearest, hyperbolic(t, std::polar(1.0, std::numbers::pi / 3 + u / 1.2 * std::numbers::pi / 6)));
    }
  }
  return nearest;
}

TEST(Lattice, CellsKeepTheirMarginFromHigherSymmetry) {
  for (const double margin : {0.14, 0.18}) {
    const LatticeOptions options{.count = 1000, .margin = margin};
    for (std::int64_t i = 0; i < options.count; ++i) {
      const LatticeCell cell = lattice_cell(options, i);
      const Complex t = reduced(cell);
      const Label label = static_cast<Label>(cell.label);
      ASSERT_EQ(cell.label, i % 5);
      if (label != kOblique) {
        ASSERT_LT(distance_to(label, t), 2e-3) << "image " << i << " is of its class";
      }
      const double least = margin - 1e-4;
      if (label == kRectangular || label == kCentred || label == kOblique) {
        ASSERT_GE(distance_to(kSquare, t), least) << i;
        ASSERT_GE(distance_to(kHexagonal, t), least) << i;
      }
      if (label == kCentred || label == kOblique) {
        ASSERT_GE(distance_to(kRectangular, t), least) << i;
      }
      if (label == kRectangular || label == kOblique) {
        ASSERT_GE(distance_to(kCentred, t), least) << i;
      }
      const double sites = cell.centred ? 2 : 1, spacing = std::sqrt(std::fabs(cross(cell.a, cell.b)) / sites);
      ASSERT_NEAR(spacing, cell.spacing, 1e-9);
      ASSERT_TRUE(spacing >= options.spacing_min && spacing <= options.spacing_max);
    }
  }
}

/// The Fourier transform of a windowed image (Blackman), divided by the sum of the window.
class Diffraction {
 public:
  explicit Diffraction(const Tensor& image)
      : size_(image.dim(1)), values_(static_cast<std::size_t>(size_ * size_)), window_(static_cast<std::size_t>(size_)) {
    double sum = 0;
    for (std::int64_t i = 0; i < size_; ++i) {
      const double at = 2 * std::numbers::pi * (static_cast<double>(i) + 0.5) / static_cast<double>(size_);
      window_[static_cast<std::size_t>(i)] = 0.42 - 0.5 * std::cos(at) + 0.08 * std::cos(2 * at);
      sum += window_[static_cast<std::size_t>(i)];
    }
    for (auto& one : window_) one /= sum;
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = image.as<std::uint16_t>()[i];
    const double mean = at({0, 0}).real();
    for (auto& one : values_) one -= mean;  // else the tails of the origin's peak reach far
  }
  Complex at(Vector g) const {
    const auto n = static_cast<std::size_t>(size_);
    std::vector<Complex> along(n);
    for (std::size_t x = 0; x < n; ++x) along[x] = std::polar(window_[x], -2 * std::numbers::pi * g[0] * static_cast<double>(x));
    Complex sum = 0;
    for (std::size_t y = 0; y < n; ++y) {
      Complex row = 0;
      for (std::size_t x = 0; x < n; ++x) row += values_[y * n + x] * along[x];
      sum += row * std::polar(window_[y], -2 * std::numbers::pi * g[1] * static_cast<double>(y));
    }
    return sum;
  }
  double amplitude(Vector g) const { return std::abs(at(g)); }

 private:
  std::int64_t size_;
  std::vector<double> values_, window_;
};

LatticeOptions perfect(int size) {
  return {.count = 1000, .size = size, .depth = 16, .thermal = 0, .vacancies = 0, .blur = 0.5, .noise = 0};
}

struct Reciprocal {
  Vector a, b;
  explicit Reciprocal(const LatticeCell& cell) {
    const double area = cross(cell.a, cell.b);
    a = {cell.b[1] / area, -cell.b[0] / area};
    b = {-cell.a[1] / area, cell.a[0] / area};
  }
  Vector at(int h, int k) const { return static_cast<double>(h) * a + static_cast<double>(k) * b; }
};

TEST(Lattice, PeaksAreTheReciprocalLatticeAndCentringExtinguishesOddSums) {
  const LatticeOptions options = perfect(128);
  for (std::int64_t i = 0; i < 15; ++i) {
    const LatticeCell cell = lattice_cell(options, i);
    const Diffraction pattern(simulate_lattice(options, i, 1).inputs);
    const Reciprocal reciprocal(cell);
    const double width2 = 0.0144 * cell.spacing * cell.spacing + cell.spot * cell.spot;
    const double whole = 0.6 * 65535 * 2 * std::numbers::pi * width2 / (cell.spacing * cell.spacing);  // spots per area x area of a spot
    int present = 0, absent = 0;
    for (int h = -2; h <= 2; ++h)
      for (int k = -2; k <= 2; ++k) {
        const Vector g = reciprocal.at(h, k);
        if (dot(g, g) == 0 || std::fabs(g[0]) > 0.35 || std::fabs(g[1]) > 0.35) continue;
        const double expected = whole * std::exp(-2 * std::numbers::pi * std::numbers::pi * width2 * dot(g, g)), got = pattern.amplitude(g);
        if (cell.centred && (h + k) % 2 != 0) {
          EXPECT_LT(got, 0.01 * whole) << "image " << i << ": " << h << ' ' << k << " is extinct";
          ++absent;
        } else if (expected > 0.05 * whole) {
          EXPECT_NEAR(got, expected, 0.02 * whole) << "image " << i << ": " << h << ' ' << k;
          for (const Vector& off : {Vector{0.003, 0}, Vector{-0.003, 0}, Vector{0, 0.003}, Vector{0, -0.003}})
            EXPECT_LT(pattern.amplitude(g + off), got) << "the peak lies at " << h << ' ' << k;
          ++present;
        }
      }
    EXPECT_GE(present, 4) << "image " << i;
    EXPECT_EQ(absent > 0, cell.centred);
    EXPECT_LT(pattern.amplitude(0.5 * reciprocal.at(1, 0)), 0.02 * whole) << "nothing between the peaks";
  }
}

/// The least ratio of amplitudes, over the shortest reciprocal vectors, between an image and the image moved by an orthogonal map.
double agreement(const Diffraction& pattern, const std::vector<Vector>& shortest, double c, double s, bool mirror) {
  double least = 1;
  for (const Vector& g : shortest) {
    const Vector moved = mirror ? Vector{c * g[0] + s * g[1], s * g[0] - c * g[1]} : Vector{c * g[0] - s * g[1], s * g[0] + c * g[1]};
    least = std::min(least, pattern.amplitude(moved) / pattern.amplitude(g));
  }
  return least;
}

TEST(Lattice, PointSymmetryIsThatOfTheClass) {
  const LatticeOptions options = perfect(256);
  for (std::int64_t i = 0; i < 15; ++i) {
    const LatticeCell cell = lattice_cell(options, i);
    const Diffraction pattern(simulate_lattice(options, i, 1).inputs);
    const Reciprocal reciprocal(cell);
    std::vector<Vector> shortest;
    for (int h = -3; h <= 3; ++h)
      for (int k = 0; k <= 3; ++k)
        if ((k > 0 || h > 0) && !(cell.centred && (h + k) % 2 != 0)) shortest.push_back(reciprocal.at(h, k));
    std::sort(shortest.begin(), shortest.end(), [](Vector p, Vector q) { return dot(p, p) < dot(q, q); });
    shortest.resize(4);
    const auto turned = [&](double degrees) {
      return agreement(pattern, shortest, std::cos(degrees * std::numbers::pi / 180), std::sin(degrees * std::numbers::pi / 180), false);
    };
    EXPECT_GT(turned(180), 0.9);
    const bool fourfold = cell.label == kSquare, sixfold = cell.label == kHexagonal;
    EXPECT_TRUE(fourfold ? turned(90) > 0.9 : turned(90) < 0.5) << "image " << i << ", fourfold: " << turned(90);
    EXPECT_TRUE(sixfold ? turned(60) > 0.9 : turned(60) < 0.5) << "image " << i << ", sixfold: " << turned(60);
    if (cell.label == kOblique) {
      for (int twice = 0; twice < 360; twice += 2)  // twice the angle of the mirror line
        EXPECT_LT(agreement(pattern, shortest, std::cos(twice * std::numbers::pi / 180), std::sin(twice * std::numbers::pi / 180), true),
                  0.75)
            << "image " << i << " has a mirror at " << twice / 2 << " degrees";
    } else {
      const double twice = 2 * std::atan2(cell.a[1], cell.a[0]);
      EXPECT_GT(agreement(pattern, shortest, std::cos(twice), std::sin(twice), true), 0.9) << "image " << i << " has a mirror along a";
    }
  }
}

TEST(Lattice, EveryImageIsAFunctionOfSeedAndNumber) {
  const LatticeOptions options{.count = 40, .size = 32, .spacing_min = 5, .spacing_max = 7};
  const Dataset all = simulate_lattice(options, 0, 40);
  const Dataset some = simulate_lattice(options, std::vector<std::int64_t>{31, 7});
  EXPECT_EQ(values_of<std::uint8_t>(some.inputs), values_of<std::uint8_t>(subset(all, std::vector<std::int64_t>{31, 7}).inputs));
  EXPECT_EQ(values_of<std::int32_t>(some.targets), (std::vector<std::int32_t>{1, 2}));
  LatticeOptions other = options;
  other.seed = 2;
  EXPECT_EQ(count_twins(simulate_lattice(other, 0, 40), all), 0);
  EXPECT_EQ(count_twins(all, subset(all, std::vector<std::int64_t>{0})), 1) << "images differ from each other";
}

TEST(Lattice, CountsArePoisson) {
  LatticeOptions quiet = perfect(96), noisy = quiet;
  noisy.noise = 0.3;
  double squares = 0, expected = 0, sum = 0;
  for (std::int64_t i = 0; i < 10; ++i) {
    const double q = lattice_cell(noisy, i).noise, unit = 0.6 * 65535;
    ASSERT_TRUE(q >= 0.1 && q <= 0.3);
    const auto clean = values_of<std::uint16_t>(simulate_lattice(quiet, i, 1).inputs),
               counted = values_of<std::uint16_t>(simulate_lattice(noisy, i, 1).inputs);
    for (std::size_t p = 0; p < clean.size(); ++p) {
      if (clean[p] > 0.5 * unit) continue;  // bright pixels may be cut off at the top
      const double difference = (counted[p] - clean[p]) / unit;
      squares += difference * difference;
      sum += difference;
      expected += q * q * clean[p] / unit;
    }
  }
  EXPECT_NEAR(squares / expected, 1, 0.03);
  EXPECT_NEAR(sum / std::sqrt(expected), 0, 4);
}

TEST(Lattice, VacanciesAndDisplacements) {
  LatticeOptions whole = perfect(128), holes = whole, hot = whole;
  holes.vacancies = 0.4;
  hot.thermal = 0.15;
  double kept = 0, expected = 0, sites = 0;
  for (std::int64_t i = 0; i < 20; ++i) {
    const LatticeCell cell = lattice_cell(holes, i);
    const auto total = [&](const LatticeOptions& options) {
      double sum = 0;
      for (const auto value : values_of<std::uint16_t>(simulate_lattice(options, i, 1).inputs))
        sum += value / (0.6 * 65535) - cell.background;
      return sum;
    };
    const double full = total(whole), n = 128 * 128 / (cell.spacing * cell.spacing);
    kept += total(holes) / full * n;
    expected += (1 - cell.vacancies) * n;
    sites += n;
    // Displacement smears the Bragg peaks by exp(-2 pi^2 u^2 s^2 g^2) (Debye-Waller).
    const LatticeCell warm = lattice_cell(hot, i);
    const Vector g = Reciprocal(warm).at(warm.centred ? 2 : 1, 0);
    const double ratio =
        Diffraction(simulate_lattice(hot, i, 1).inputs).amplitude(g) / Diffraction(simulate_lattice(whole, i, 1).inputs).amplitude(g);
    const double step = warm.thermal * warm.spacing;
    EXPECT_NEAR(ratio, std::exp(-2 * std::numbers::pi * std::numbers::pi * step * step * dot(g, g)), 0.2) << "image " << i;
  }
  EXPECT_NEAR(kept / expected, 1, 4 / std::sqrt(sites));
}

TEST(Lattice, OptionsFromText) {
  const LatticeOptions options =
      parse_lattice("lattice:count=10,size=48,depth=16,seed=7,margin=0.1,spacing=6-8.5,thermal=0,vacancies=0.2,blur=2,noise=0.5");
  EXPECT_EQ(options.count, 10);
  EXPECT_EQ(options.size, 48);
  EXPECT_EQ(options.depth, 16);
  EXPECT_EQ(options.seed, 7u);
  EXPECT_EQ(options.margin, 0.1);
  EXPECT_EQ(options.spacing_min, 6);
  EXPECT_EQ(options.spacing_max, 8.5);
  EXPECT_EQ(options.vacancies, 0.2);
  EXPECT_EQ(options.blur, 2);
  EXPECT_EQ(options.noise, 0.5);
  for (const char* plain : {"lattice", "lattice:"}) EXPECT_EQ(parse_lattice(plain).count, 4000);
  EXPECT_EQ(parse_lattice("lattice:spacing=8").spacing_max, 8);
  EXPECT_EQ(parse_lattice("lattice:size=64").spacing_max, 10);
  EXPECT_EQ(parse_lattice("lattice:size=32").spacing_max, 8);  // the default fits small images
  EXPECT_EQ(parse_lattice("lattice:size=16").spacing_min, 3);
  for (const char* bad : {"lattice:count", "lattice:count=", "lattice:count=0", "lattice:count=1.5", "lattice:size=8", "lattice:size=1e12",
                          "lattice:depth=12", "lattice:margin=0.3", "lattice:spacing=9-7", "lattice:spacing=2", "lattice:spacing=40",
                          "lattice:noise=-1", "lattice:noise=nan", "lattice:seed=-1", "lattice:,", "latticework"})
    error_of([&] { parse_lattice(bad); }, Fault::usage);
  EXPECT_TRUE(mentions(error_of([] { parse_lattice("lattice:angle=3"); }, Fault::usage), {"'angle'", "spacing, thermal"}));
}

TEST(Lattice, FilesHoldWhatTheSourceGives) {
  const Folder folder;
  LatticeOptions options{.count = 60, .size = 32, .spacing_min = 5, .spacing_max = 7};
  const DataOptions direct{.data = "lattice:count=60,size=32,spacing=5-7"};
  const Dataset train = open_training(direct).train, test = open_part(direct, "test");
  write_dataset(options, folder.path("idx"), ImageFormat::idx);
  const Dataset from_idx = open_part({.data = folder.path("idx")}, "test");
  EXPECT_EQ(values_of<std::uint8_t>(from_idx.inputs), values_of<std::uint8_t>(test.inputs));
  EXPECT_EQ(values_of<std::int32_t>(from_idx.targets), values_of<std::int32_t>(test.targets));
  EXPECT_EQ(open_part({.data = folder.path("idx"), .validation_fraction = 0}, "train").size(), 48);
  EXPECT_TRUE(mentions(error_of([&] { write_dataset(options, folder.path("idx"), ImageFormat::idx); }, Fault::usage), {"idx", "exists"}));
  options.depth = 16;
  EXPECT_TRUE(mentions(error_of([&] { write_dataset(options, folder.path("deep"), ImageFormat::idx); }, Fault::usage), {"PNG"}));
  EXPECT_FALSE(std::filesystem::exists(folder.path("deep")));
  EXPECT_TRUE(mentions(error_of([&] { write_dataset(options, "/proc/none/x", ImageFormat::png); }, Fault::failure), {"/proc/none/x"}));
#if EPITAXY_HAS_PNG
  write_dataset(options, folder.path("png"), ImageFormat::png);
  const Dataset png = open_part({.data = folder.path("png")}, "test"),
                deep = open_part({.data = "lattice:count=60,size=32,spacing=5-7,depth=16"}, "test");
  EXPECT_EQ(png.inputs.dtype(), DType::uint16);
  EXPECT_EQ(count_twins(png, deep), 12);
  EXPECT_EQ(png.class_names, deep.class_names);
  EXPECT_EQ(class_counts(png), class_counts(deep));
#endif
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(entry.path().string().find("partial"), std::string::npos) << "no temporary folder stays";
}

}  // namespace epitaxy::test
