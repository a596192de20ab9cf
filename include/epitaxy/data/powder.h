// Built-in simulator: powder X-ray diffraction patterns of cubic crystals, kinematic, of textbook structure types.
//
// Pattern i is of class i mod classes; its lattice (face-centred F, body-centred I, primitive P) is drawn among those of the class, its
// structure type among those of the lattice, a different element (Z in 3..92) for every site, and a volume per atom of
// exp(normal(ln 17, 0.4)) cubic angstrom, which gives the lattice parameter a. Everything about pattern i is a function of (seed, i).
//
// Lines. 2 theta = 2 asin(lambda sqrt(h^2 + k^2 + l^2) / 2a), intensity m |F|^2 (1 + cos^2 2 theta) / (sin^2 theta cos theta): the
// multiplicity, the structure factor F = sum f exp(-B s^2) exp(2 pi i (hx + ky + lz)), and the Lorentz and polarisation factors of an
// unpolarised beam (B. E. Warren, X-ray Diffraction, 1969, chapters 3 and 4). s = sin(theta) / lambda; f = Z / (1 + (s / 0.45)^2), a
// simple form for all atoms: near the tabulated factors of iron and copper (10% for s below 0.5 per angstrom), too high for light atoms
// (silicon 20%, oxygen 50% there) and too low for heavy ones (gold 25%). B is uniform in [0.2, 1.5] square angstrom. Real specimens are
// textured: each line is scaled by a factor uniform in [1 - texture, 1 + texture]. A crystal without a line in the range is drawn again.
//
// Pattern. Step t of `steps` is at from + (t + 1/2) (to - from) / steps degrees. Lines are Gaussians of one full width at half maximum,
// uniform in [width_min, width_max] degrees, cut off at 1.5 widths (0.2% of the peak). The highest value of a pattern is 1. No background,
// no noise. Elements of like Z can hide what tells lattices apart, as in KCl, whose lines are those of a primitive cell of half the size.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epitaxy/data/dataset.h"

namespace epitaxy {

/// A structure type: its space group (Hermann-Mauguin) and one coordinate triple for each occupied site, in fractions of the cell.
struct CubicStructure {
  std::string_view name;   // prototype, and Strukturbericht symbol where it has one
  std::string_view group;  // its first letter is the lattice: F, I or P
  std::vector<std::array<double, 3>> sites;
};

/// The structure types of a lattice ('F', 'I' or 'P').
std::span<const CubicStructure> cubic_structures(char lattice);

/// All atoms of the cell that symmetry makes of one site; coordinates in [0, 1).
std::vector<std::array<double, 3>> orbit(std::string_view group, const std::array<double, 3>& site);

struct PowderLine {
  double two_theta = 0;  // degrees
  double intensity = 0;
  int square = 0;  // h^2 + k^2 + l^2
};

struct PowderCrystal {
  const CubicStructure* structure = nullptr;
  std::vector<int> elements;  // atomic numbers, one per site
  double a = 0;               // lattice parameter, angstrom
  double b = 0;               // B of the thermal displacement, square angstrom
};

/// Lines up to 2 theta = `to` degrees, ascending, of intensity above 1e-9 of the strongest; lines of one h^2 + k^2 + l^2 are one.
std::vector<PowderLine> powder_lines(const PowderCrystal& crystal, double wavelength, double to);

struct PowderOptions {
  std::int64_t count = 4000;                 // 1..10^7
  std::int64_t steps = 320;                  // 16..65536
  double from = 0, to = 80;                  // degrees 2 theta, 0 <= from < to <= 160
  double wavelength = 1.5418;                // angstrom, 0.1..3, with sin(theta) / lambda at most 1.2; copper K alpha
  double width_min = 0.25, width_max = 0.5;  // degrees, 0.01..5
  double texture = 0.15;                     // 0..0.9
  std::uint64_t seed = 1;
  std::array<std::string, 3> names{"F", "I", "P"};  // the class of each lattice, in this order; "-" leaves a lattice out

  double step() const { return (to - from) / static_cast<double>(steps); }  // degrees
};

/// "powder:count=4000,steps=320,range=0-80,wavelength=1.5418,width=0.25-0.5,texture=0.15,seed=1,F=F,I=I,P=P"; every key may be left out.
/// Rejects an unknown key (listing all) and values out of range.
PowderOptions parse_powder(std::string_view text);

/// Rejects values out of range.
void check_powder(const PowderOptions& options);

/// The position of every step, degrees 2 theta.
std::vector<std::string> powder_steps(const PowderOptions& options);

/// Names of the classes, sorted.
std::vector<std::string> powder_classes(const PowderOptions& options);

PowderCrystal powder_crystal(const PowderOptions& options, std::int64_t index);

/// The patterns of the given numbers: inputs fp32 [count, steps, 1]; feature_names are the positions of the steps.
Dataset simulate_powder(const PowderOptions& options, std::span<const std::int64_t> items);

/// Writes a table, one pattern a row: its class, then the steps, named by their 2 theta.
void write_powder(const PowderOptions& options, const std::string& path);

}  // namespace epitaxy
