// Cubic structure types and the orbits of their sites. Coordinates and generators are those of the International Tables for
// Crystallography, volume A, and of the prototypes in Strukturbericht; groups with two origins are given from the centre of symmetry.
#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "epitaxy/data/powder.h"
#include "epitaxy/error.h"

namespace epitaxy {

namespace {

using Point = std::array<double, 3>;

/// x -> turn x + shift; shifts in twenty-fourths, so that operations are integers and compare exactly.
struct Symmetry {
  std::array<std::array<int, 3>, 3> turn{};
  std::array<int, 3> shift{};
  bool operator<(const Symmetry& other) const { return std::tie(turn, shift) < std::tie(other.turn, other.shift); }
};

/// "-x+1/2,-y,z+1/2"
Symmetry parse_symmetry(std::string_view text) {
  Symmetry result;
  int row = 0, sign = 1;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto r = static_cast<std::size_t>(row);
    if (text[i] == ',') {
      ++row, sign = 1;
    } else if (text[i] == '-' || text[i] == '+') {
      sign = text[i] == '-' ? -1 : 1;
    } else if (text[i] >= 'x' && text[i] <= 'z') {
      result.turn[r][static_cast<std::size_t>(text[i] - 'x')] = sign;
    } else {  // a fraction
      result.shift[r] = sign * 24 * (text[i] - '0') / (text[i + 2] - '0');
      i += 2;
    }
  }
  for (int& part : result.shift) part = (part + 24) % 24;
  return result;
}

/// First q, then p.
Symmetry compose(const Symmetry& p, const Symmetry& q) {
  Symmetry result;
  for (std::size_t i = 0; i < 3; ++i) {
    result.shift[i] = p.shift[i];
    for (std::size_t k = 0; k < 3; ++k) {
      result.shift[i] += p.turn[i][k] * q.shift[k];
      for (std::size_t j = 0; j < 3; ++j) result.turn[i][j] += p.turn[i][k] * q.turn[k][j];
    }
    result.shift[i] = ((result.shift[i] % 24) + 24) % 24;
  }
  return result;
}

struct Group {
  std::string_view name;
  std::vector<std::string_view> generators;  // but the threefold axis z,x,y and the centring
};

const std::vector<Group>& groups() {
  static const std::vector<Group> all{
      {"Fm-3m", {"-x,-y,z", "-x,y,-z", "y,x,-z", "-x,-y,-z"}},
      {"F-43m", {"-x,-y,z", "-x,y,-z", "y,x,z"}},
      {"Fd-3m", {"-x+3/4,-y+1/4,z+1/2", "-x+1/4,y+1/2,-z+3/4", "y+3/4,x+1/4,-z+1/2", "-x,-y,-z"}},
      {"Im-3m", {"-x,-y,z", "-x,y,-z", "y,x,-z", "-x,-y,-z"}},
      {"I-43m", {"-x,-y,z", "-x,y,-z", "y,x,z"}},
      {"Im-3", {"-x,-y,z", "-x,y,-z", "-x,-y,-z"}},
      {"Ia-3", {"-x+1/2,-y,z+1/2", "-x,y+1/2,-z+1/2", "-x,-y,-z"}},
      {"Ia-3d", {"-x+1/2,-y,z+1/2", "-x,y+1/2,-z+1/2", "y+3/4,x+1/4,-z+1/4", "-x,-y,-z"}},
      {"I-43d", {"-x+1/2,-y,z+1/2", "-x,y+1/2,-z+1/2", "y+1/4,x+1/4,z+1/4"}},
      {"Pm-3m", {"-x,-y,z", "-x,y,-z", "y,x,-z", "-x,-y,-z"}},
      {"P-43m", {"-x,-y,z", "-x,y,-z", "y,x,z"}},
      {"Pm-3n", {"-x,-y,z", "-x,y,-z", "y+1/2,x+1/2,-z+1/2", "-x,-y,-z"}},
      {"Pn-3m", {"-x+1/2,-y+1/2,z", "-x+1/2,y,-z+1/2", "y+1/2,x+1/2,-z", "-x,-y,-z"}},
      {"Pa-3", {"-x+1/2,-y,z+1/2", "-x,y+1/2,-z+1/2", "-x,-y,-z"}},
      {"P213", {"-x+1/2,-y,z+1/2", "-x,y+1/2,-z+1/2"}},
  };
  return all;
}

std::set<Symmetry> close_group(const Group& group) {
  std::vector<Symmetry> generators{parse_symmetry("z,x,y")};
  for (const auto& one : group.generators) generators.push_back(parse_symmetry(one));
  if (group.name[0] == 'F') generators.push_back(parse_symmetry("x,y+1/2,z+1/2"));
  if (group.name[0] == 'I') generators.push_back(parse_symmetry("x+1/2,y+1/2,z+1/2"));
  std::set<Symmetry> known;
  std::vector<Symmetry> open{parse_symmetry("x,y,z")};
  while (!open.empty()) {
    const Symmetry one = open.back();
    open.pop_back();
    if (!known.insert(one).second) continue;
    for (const auto& generator : generators) open.push_back(compose(generator, one));
  }
  return known;
}

}  // namespace

std::vector<Point> orbit(std::string_view group, const Point& site) {
  static const auto closed = [] {
    std::vector<std::set<Symmetry>> all;
    for (const auto& one : groups()) all.push_back(close_group(one));
    return all;
  }();
  const auto found = std::find_if(groups().begin(), groups().end(), [&](const Group& one) { return one.name == group; });
  require(found != groups().end(), "orbit: unknown space group '", group, "'");
  std::vector<Point> atoms;
  for (const Symmetry& symmetry : closed[static_cast<std::size_t>(found - groups().begin())]) {
    Point at;
    for (std::size_t i = 0; i < 3; ++i) {
      at[i] = symmetry.shift[i] / 24.0;
      for (std::size_t j = 0; j < 3; ++j) at[i] += symmetry.turn[i][j] * site[j];
      at[i] -= std::floor(at[i] + 1e-6);
    }
    const bool seen = std::any_of(atoms.begin(), atoms.end(), [&](const Point& other) {
      double apart = 0;
      for (std::size_t i = 0; i < 3; ++i) apart += std::fabs(at[i] - other[i] - std::round(at[i] - other[i]));
      return apart < 1e-4;
    });
    if (!seen) atoms.push_back(at);
  }
  return atoms;
}

std::span<const CubicStructure> cubic_structures(char lattice) {
  constexpr Point o{0, 0, 0}, half{0.5, 0.5, 0.5}, quarter{0.25, 0.25, 0.25}, eighth{0.125, 0.125, 0.125}, edge{0.5, 0, 0},
      face{0, 0.5, 0.5};
  static const std::vector<CubicStructure> f{
      {"Cu A1", "Fm-3m", {o}},
      {"C (diamond) A4", "Fd-3m", {eighth}},
      {"NaCl B1", "Fm-3m", {o, half}},
      {"ZnS B3", "F-43m", {o, quarter}},
      {"NaTl B32", "Fd-3m", {eighth, {0.375, 0.375, 0.375}}},
      {"CaF2 C1", "Fm-3m", {o, quarter}},
      {"MgAgAs C1b", "F-43m", {o, quarter, half}},
      {"SiO2 (cristobalite) C9", "Fd-3m", {eighth, o}},
      {"MgCu2 C15", "Fd-3m", {eighth, half}},
      {"AuBe5 C15b", "F-43m", {o, quarter, {0.625, 0.625, 0.625}}},
      {"UB12 D2f", "Fm-3m", {o, {0.5, 0.17, 0.17}}},
      {"Cr23C6 D84", "Fm-3m", {o, quarter, {0, 0.17, 0.17}, {0.382, 0.382, 0.382}, {0.275, 0, 0}}},
      {"Th6Mn23 D8a", "Fm-3m", {half, {0, 0.25, 0.25}, {0.203, 0, 0}, {0.178, 0.178, 0.178}, {0.378, 0.378, 0.378}}},
      {"Ca2Nb2O7 (pyrochlore) E81", "Fd-3m", {o, half, {0.375, 0.375, 0.375}, {0.325, 0.125, 0.125}}},
      {"Fe3W3C (eta carbide) E93", "Fd-3m", {o, half, {0.213, 0.213, 0.213}, {0.436, 0.125, 0.125}}},
      {"Al2MgO4 (spinel) H11", "Fd-3m", {eighth, half, {0.262, 0.262, 0.262}}},
      {"K2PtCl6 J11", "Fm-3m", {o, quarter, {0.24, 0, 0}}},
      {"Cu2MnAl L21", "Fm-3m", {o, quarter, half}},
      {"Ba2CaWO6 (double perovskite)", "Fm-3m", {o, half, quarter, {0.25, 0, 0}}},
  };
  static const std::vector<CubicStructure> i{
      {"W A2", "Im-3m", {o}},
      {"Mn (alpha) A12", "I-43m", {o, {0.317, 0.317, 0.317}, {0.356, 0.356, 0.034}, {0.089, 0.089, 0.282}}},
      {"H3S", "Im-3m", {o, face}},
      {"PtHg4", "Im-3m", {o, quarter}},
      {"CoAs3 D02", "Im-3", {quarter, {0, 0.344, 0.16}}},
      {"LaFe4P12 (filled skutterudite)", "Im-3", {o, quarter, {0, 0.354, 0.15}}},
      {"WAl12", "Im-3", {o, {0, 0.184, 0.309}}},
      {"CaCu3Ti4O12", "Im-3", {o, face, quarter, {0, 0.303, 0.179}}},
      {"Mn2O3 (bixbyite) D53", "Ia-3", {quarter, {0.97, 0, 0.25}, {0.39, 0.152, 0.38}}},
      {"Ca3Al2Si3O12 (garnet) S14", "Ia-3d", {o, {0.125, 0, 0.25}, {0.375, 0, 0.25}, {0.962, 0.045, 0.651}}},
      {"Th3P4 D73", "I-43d", {{0.375, 0, 0.25}, {0.083, 0.083, 0.083}}},
      {"Pu2C3 D5c", "I-43d", {{0.05, 0.05, 0.05}, {0.28, 0, 0.25}}},
      {"Cu15Si4 D86", "I-43d", {{0.375, 0, 0.25}, {0.208, 0.208, 0.208}, {0.12, 0.16, 0.96}}},
      {"Bi4Si3O12 (eulytine)", "I-43d", {{0.375, 0, 0.25}, {0.087, 0.087, 0.087}, {0.06, 0.133, 0.287}}},
      {"Cu5Zn8 (gamma brass) D82", "I-43m", {{0.109, 0.109, 0.109}, {0.828, 0.828, 0.828}, {0.356, 0, 0}, {0.313, 0.313, 0.037}}},
      {"Cu12Sb4S13 (tetrahedrite)", "I-43m", {o, {0.25, 0.5, 0}, {0.215, 0, 0}, {0.268, 0.268, 0.268}, {0.115, 0.115, 0.362}}},
  };
  static const std::vector<CubicStructure> p{
      {"Po Ah", "Pm-3m", {o}},
      {"Cr3Si A15", "Pm-3n", {o, {0.25, 0, 0.5}}},
      {"CsCl B2", "Pm-3m", {o, half}},
      {"FeSi B20", "P213", {{0.137, 0.137, 0.137}, {0.842, 0.842, 0.842}}},
      {"FeS2 (pyrite) C2", "Pa-3", {o, {0.385, 0.385, 0.385}}},
      {"Cu2O C3", "Pn-3m", {o, quarter}},
      {"ReO3 D09", "Pm-3m", {o, edge}},
      {"CaB6 D21", "Pm-3m", {o, {0.2, 0.5, 0.5}}},
      {"CaTiO3 (perovskite) E21", "Pm-3m", {o, half, face}},
      {"Cu3VS4 (sulvanite) H24", "P-43m", {o, edge, {0.237, 0.237, 0.237}}},
      {"Cu3Au L12", "Pm-3m", {o, face}},
      {"Ba8Ga16Ge30 (clathrate I)", "Pm-3n", {o, {0.25, 0.5, 0}, {0.25, 0, 0.5}, {0.184, 0.184, 0.184}, {0, 0.308, 0.117}}},
  };
  require(lattice == 'F' || lattice == 'I' || lattice == 'P', "cubic_structures: lattice '", lattice, "' is not F, I or P");
  return lattice == 'F' ? f : lattice == 'I' ? i : p;
}

}  // namespace epitaxy
