// Built-in simulator: images of the five 2-D Bravais lattices, as a scanning microscope would count them.
//
// Class of image i: i mod 5 in the order of kLatticeNames. Everything about image i is a function of (seed, i).
//
// Cell. With t = (a.b + i |a x b|) / a.a of a reduced primitive cell (0 <= Re t <= 1/2, |t| >= 1), lattices with higher symmetry than
// oblique lie on the walls of that domain: Re t = 0 rectangular, |t| = 1 and Re t = 1/2 centred rectangular, t = i square, t = exp(i pi/3)
// hexagonal. The hyperbolic distance d between two t is the pure shear between the cells: axes stretched by exp(d/2) and exp(-d/2) (for
// rectangular cells d is the difference of ln(b/a)). No image comes nearer than `margin` to a lattice of higher symmetry:
//   rectangular          ln(b/a) uniform in [margin, 0.65]
//   centred rectangular  ln(b/a) of the conventional cell uniform in [margin, ln sqrt3 - margin] and [ln sqrt3 + margin, ln sqrt3 + 0.4]:
//                        away from square (b/a = 1) and hexagonal (b/a = sqrt3)
//   oblique              t uniform in Re t in [0, 1/2], Im t in [0.8, 1.9] where asinh(Re t / Im t), asinh((1/2 - Re t) / Im t) and
//                        asinh((|t|^2 - 1) / (2 Im t)), the distances from the three walls, are at least margin; handedness is random
// The area per site is s^2, s uniform in [spacing_min, spacing_max] pixels for every class; orientation and origin are uniform.
//
// Image. A site is empty with probability v, else displaced by a normal deviate of u s along each axis, and adds a spot
// exp(-r^2 / (2 w^2)), w^2 = (0.12 s)^2 + f^2, to a background g uniform in [0.05, 0.25]. v, u and f are uniform from 0 to `vacancies`,
// `thermal` and `blur`. Counts are Poisson with mean I / q^2, where q (the relative noise at a spot's peak) is uniform in [noise/3, noise];
// value = min(top, round(0.6 top q^2 counts)), top = 255 or 65535. noise = 0 gives 0.6 top I, without counting.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "epitaxy/data/dataset.h"

namespace epitaxy {

inline constexpr std::array<std::string_view, 5> kLatticeNames{"centred_rectangular", "hexagonal", "oblique", "rectangular", "square"};

struct LatticeOptions {
  std::int64_t count = 4000;  // 1..10^7
  int size = 64;              // pixels along each side, 16..4096
  int depth = 8;              // 8 or 16 bits
  std::uint64_t seed = 1;
  double margin = 0.14;                      // 0.02..0.18
  double spacing_min = 7, spacing_max = 10;  // pixels, 3..size/4; parse_lattice shrinks the default for images below 40 pixels
  double thermal = 0.05;                     // 0..0.2 of the spacing
  double vacancies = 0.1;                    // 0..0.5 of the sites
  double blur = 1.0;                         // 0..10 pixels
  double noise = 0.25;                       // 0..1
};

/// The true parameters of one image, in pixels, x to the right and y down.
struct LatticeCell {
  int label = 0;
  bool centred = false;            // (a + b) / 2 is a lattice vector too
  std::array<double, 2> a{}, b{};  // the conventional cell
  std::array<double, 2> origin{};  // a site, before displacement
  double spacing = 0, spot = 0, thermal = 0, vacancies = 0, background = 0, noise = 0;
};

/// "lattice:count=4000,size=64,depth=8,seed=1,margin=0.14,spacing=7-10,thermal=0.05,vacancies=0.1,blur=1,noise=0.25"; every key may be
/// left out, and "lattice:" or "lattice" alone is the default. Rejects an unknown key (listing all) and values out of range.
LatticeOptions parse_lattice(std::string_view text);

/// Rejects values out of range.
void check_lattice(const LatticeOptions& options);

LatticeCell lattice_cell(const LatticeOptions& options, std::int64_t index);

/// Images `first` .. `first + count - 1`: inputs [count, size, size, 1] uint8 or uint16.
Dataset simulate_lattice(const LatticeOptions& options, std::int64_t first, std::int64_t count);
/// The images of the given numbers.
Dataset simulate_lattice(const LatticeOptions& options, std::span<const std::int64_t> items);

enum class ImageFormat : std::uint8_t { idx, png };

/// Writes the simulated data set as files: `folder` with train-*/test-* IDX files (8 bit only), or train/<class>/<i>.png and
/// test/<class>/<i>.png. Test items are those that open_part splits off with the same test_fraction and split_seed. Built under a temporary
/// name and renamed; rejects a folder that exists.
void write_dataset(const LatticeOptions& options, const std::string& folder, ImageFormat format, double test_fraction = 0.2,
                   std::uint64_t split_seed = 1);

}  // namespace epitaxy
