// Simulated powder patterns: groups and orbits of the International Tables, peak positions of known metals, extinctions of each lattice,
// intensities worked out by hand; the source, the written table, and training on simulated patterns beside a table.
#include "epitaxy/data/powder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "epitaxy/data/csv.h"
#include "epitaxy/data/source.h"
#include "files.h"

namespace epitaxy::test {

namespace {

std::vector<std::int64_t> first(std::int64_t count) {
  std::vector<std::int64_t> items(static_cast<std::size_t>(count));
  std::iota(items.begin(), items.end(), std::int64_t{0});
  return items;
}

const CubicStructure& structure(char lattice, std::string_view name) {
  for (const auto& one : cubic_structures(lattice))
    if (one.name == name) return one;
  fail("no structure ", name);
}

std::vector<int> squares_of(std::span<const PowderLine> lines) {
  std::vector<int> squares;
  for (const auto& line : lines) squares.push_back(line.square);
  return squares;
}

const PowderLine& line_of(std::span<const PowderLine> lines, int square) {
  return *std::find_if(lines.begin(), lines.end(), [&](const PowderLine& line) { return line.square == square; });
}

std::string said(const std::string& text) {
  return error_of([&] { parse_powder(text); }, Fault::usage);
}

}  // namespace

TEST(Powder, GeneralPositionsHaveTheMultiplicitiesOfTheInternationalTables) {
  const std::pair<const char*, std::size_t> groups[] = {{"Fm-3m", 192}, {"F-43m", 96}, {"Fd-3m", 192}, {"Im-3m", 96}, {"I-43m", 48},
                                                        {"Im-3", 48},   {"Ia-3", 48},  {"Ia-3d", 96},  {"I-43d", 48}, {"Pm-3m", 48},
                                                        {"P-43m", 24},  {"Pm-3n", 48}, {"Pn-3m", 48},  {"Pa-3", 24},  {"P213", 12}};
  for (const auto& [group, multiplicity] : groups) EXPECT_EQ(orbit(group, {0.071, 0.153, 0.317}).size(), multiplicity) << group;
  EXPECT_THROW(orbit("Fm3m", {0, 0, 0}), Error);
}

TEST(Powder, StructuresHaveTheAtomsOfTheirFormulas) {
  const auto atoms = [](char lattice, std::string_view name) {
    std::vector<std::size_t> counts;
    const auto& one = structure(lattice, name);
    for (const auto& site : one.sites) counts.push_back(orbit(one.group, site).size());
    return counts;
  };
  using Counts = std::vector<std::size_t>;
  EXPECT_EQ(atoms('F', "Al2MgO4 (spinel) H11"), (Counts{8, 16, 32}));
  EXPECT_EQ(atoms('F', "Cr23C6 D84"), (Counts{4, 8, 48, 32, 24}));
  EXPECT_EQ(atoms('F', "Ca2Nb2O7 (pyrochlore) E81"), (Counts{16, 16, 8, 48}));
  EXPECT_EQ(atoms('I', "Ca3Al2Si3O12 (garnet) S14"), (Counts{16, 24, 24, 96}));
  EXPECT_EQ(atoms('I', "Mn (alpha) A12"), (Counts{2, 8, 24, 24}));
  EXPECT_EQ(atoms('I', "Mn2O3 (bixbyite) D53"), (Counts{8, 24, 48}));
  EXPECT_EQ(atoms('P', "Cr3Si A15"), (Counts{2, 6}));
  EXPECT_EQ(atoms('P', "FeSi B20"), (Counts{4, 4}));
  const auto totals = [](char lattice) {
    Counts counts;
    for (const auto& one : cubic_structures(lattice)) {
      counts.push_back(0);
      for (const auto& site : one.sites) counts.back() += orbit(one.group, site).size();
    }
    return counts;
  };
  EXPECT_EQ(totals('F'), (Counts{4, 8, 8, 8, 16, 12, 12, 24, 24, 24, 52, 116, 116, 88, 112, 56, 36, 16, 40}));
  EXPECT_EQ(totals('I'), (Counts{2, 58, 8, 10, 32, 34, 26, 40, 80, 160, 28, 40, 76, 76, 52, 58}));
  EXPECT_EQ(totals('P'), (Counts{1, 8, 2, 8, 12, 6, 4, 7, 5, 8, 4, 54}));
  for (const char lattice : {'F', 'I', 'P'})
    for (const auto& one : cubic_structures(lattice)) EXPECT_EQ(one.group[0], lattice) << one.name;
}

TEST(Powder, NoTwoAtomsOfAStructureTouch) {
  for (const char lattice : {'F', 'I', 'P'})
    for (const auto& one : cubic_structures(lattice)) {
      std::vector<std::array<double, 3>> atoms;
      for (const auto& site : one.sites)
        for (const auto& atom : orbit(one.group, site)) atoms.push_back(atom);
      const double a = std::cbrt(17.0 * static_cast<double>(atoms.size()));
      for (std::size_t i = 0; i < atoms.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) {
          double square = 0;
          for (std::size_t k = 0; k < 3; ++k) square += std::pow(std::remainder(atoms[i][k] - atoms[j][k], 1.0), 2);
          ASSERT_GT(a * std::sqrt(square), 1.25) << one.name;  // a carbon dimer is the closest pair
        }
    }
}

TEST(Powder, CopperAndIronHaveTheirKnownPeaks) {
  const auto copper = powder_lines({&structure('F', "Cu A1"), {29}, 3.615, 0.5}, 1.5406, 100);
  EXPECT_EQ(squares_of(copper), (std::vector<int>{3, 4, 8, 11, 12}));
  const double known[] = {43.30, 50.43, 74.13, 89.93, 95.14};  // ICDD 00-004-0836
  for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(copper[i].two_theta, known[i], 0.05);
  EXPECT_NEAR(copper[1].intensity / copper[0].intensity, 0.46, 0.05);
  EXPECT_NEAR(copper[2].intensity / copper[0].intensity, 0.20, 0.05);

  const auto iron = powder_lines({&structure('I', "W A2"), {26}, 2.8664, 0.5}, 1.5406, 120);
  EXPECT_EQ(squares_of(iron), (std::vector<int>{2, 4, 6, 8, 10}));
  EXPECT_NEAR(iron[0].two_theta, 44.67, 0.02);
  EXPECT_NEAR(iron[1].two_theta, 65.02, 0.02);
}

TEST(Powder, StructureFactorsAreThoseOfTheTextbook) {
  // NaCl: F = 4 (f1 + f2) for even indices, 4 (f1 - f2) for odd ones; multiplicities 8 of 111, 6 of 200.
  const double a = 5.64, lambda = 1.5406;
  const auto salt = powder_lines({&structure('F', "NaCl B1"), {11, 17}, a, 0}, lambda, 60);
  const auto expected = [&](int square, double electrons, int multiplicity) {
    const double theta = std::asin(lambda * std::sqrt(square) / (2 * a)), s = std::sin(theta) / lambda;
    const double f = electrons / (1 + s * s / 0.2025);
    return multiplicity * 16 * f * f * (1 + std::pow(std::cos(2 * theta), 2)) / (std::pow(std::sin(theta), 2) * std::cos(theta));
  };
  EXPECT_NEAR(line_of(salt, 3).intensity / expected(3, 6, 8), 1, 1e-9);
  EXPECT_NEAR(line_of(salt, 4).intensity / expected(4, 28, 6), 1, 1e-9);
  EXPECT_NEAR(line_of(salt, 8).intensity / expected(8, 28, 12), 1, 1e-9);

  // Like elements hide the lattice; the glide of diamond takes 200, 222 and 420.
  EXPECT_EQ(squares_of(powder_lines({&structure('F', "NaCl B1"), {18, 18}, 6.29, 1}, lambda, 80)),
            (std::vector<int>{4, 8, 12, 16, 20, 24}));
  EXPECT_EQ(squares_of(powder_lines({&structure('F', "C (diamond) A4"), {14}, 5.431, 0.5}, lambda, 100)),
            (std::vector<int>{3, 8, 11, 16, 19, 24, 27}));
  EXPECT_TRUE(powder_lines({&structure('F', "C (diamond) A4"), {14}, 5.431, 0.5}, lambda, 25).empty());  // before 111 all are extinct
  EXPECT_EQ(squares_of(powder_lines({&structure('P', "CsCl B2"), {55, 17}, 4.12, 1}, lambda, 55)), (std::vector<int>{1, 2, 3, 4, 5, 6}));
}

TEST(Powder, EveryStructureObeysTheExtinctionsOfItsLattice) {
  for (const char lattice : {'F', 'I', 'P'})
    for (const auto& one : cubic_structures(lattice)) {
      std::vector<int> elements;
      for (std::size_t i = 0; i < one.sites.size(); ++i) elements.push_back(static_cast<int>(8 + 13 * i));
      for (const auto& line : powder_lines({&one, elements, 9, 1}, 1.5418, 80)) {
        const int n = line.square;
        if (lattice == 'I') {
          EXPECT_EQ(n % 2, 0) << one.name;  // h + k + l even
        }
        if (lattice == 'F') {
          EXPECT_TRUE(n % 4 == 0 || n % 8 == 3) << one.name << " " << n;  // all even or all odd
        }
      }
    }
}

TEST(Powder, PatternsHaveTheirPeaksAndDependOnSeedAndNumberAlone) {
  PowderOptions options = parse_powder("powder:count=60,steps=800,texture=0,width=0.3,seed=5");
  const Dataset data = simulate_powder(options, first(60));
  EXPECT_EQ(data.class_names, (std::vector<std::string>{"F", "I", "P"}));
  const float* value = data.inputs.as<float>();
  for (std::int64_t i = 0; i < 60; ++i, value += 800) {
    EXPECT_EQ(data.targets.as<std::int32_t>()[i], i % 3);
    const PowderCrystal crystal = powder_crystal(options, i);
    EXPECT_EQ(crystal.structure->group[0], "FIP"[i % 3]);
    EXPECT_EQ(*std::max_element(value, value + 800), 1);
    const auto lines = powder_lines(crystal, options.wavelength, options.to + 0.45);
    for (std::int64_t t = 0; t < 800; ++t) {
      double near = 0;  // is there a line where there is intensity?
      for (const auto& line : lines)
        if (std::fabs(line.two_theta - 0.1 * (static_cast<double>(t) + 0.5)) <= 0.45 + 1e-9) near += line.intensity;
      ASSERT_EQ(value[t] > 0, near > 0) << i << " " << t;
    }
  }
  const std::vector<std::int64_t> two{17, 3};
  const Dataset some = simulate_powder(options, two);
  EXPECT_TRUE(std::equal(some.inputs.as<float>(), some.inputs.as<float>() + 800, data.inputs.as<float>() + 17 * 800));
  options.seed = 6;
  const Dataset other = simulate_powder(options, two);
  EXPECT_FALSE(std::equal(some.inputs.as<float>(), some.inputs.as<float>() + 800, other.inputs.as<float>()));
}

TEST(Powder, OptionsAreReadAndChecked) {
  const PowderOptions options = parse_powder("powder:count=7,steps=700,range=20-90,wavelength=0.709,width=0.1-0.2,I=BCC,F=FCC,P=-");
  EXPECT_EQ(options.count, 7);
  EXPECT_EQ(options.from, 20);
  EXPECT_EQ(options.to, 90);
  EXPECT_EQ(options.width_max, 0.2);
  EXPECT_EQ(powder_classes(options), (std::vector<std::string>{"BCC", "FCC"}));
  for (std::int64_t i = 0; i < 7; ++i) EXPECT_EQ(powder_crystal(options, i).structure->group[0], i % 2 ? 'F' : 'I');
  EXPECT_NE(said("powder:cuont=7").find("known: count, steps"), std::string::npos);
  EXPECT_NE(said("powder:range=90-20").find("ascend"), std::string::npos);
  EXPECT_NE(said("powder:steps=2").find("16..65536"), std::string::npos);
  EXPECT_NE(said("powder:F=a,I=a,P=-").find("fewer than two classes"), std::string::npos);
  EXPECT_NE(said("powder:F=").find("needs the name"), std::string::npos);
  for (const char* name : {"\"a", "a\nb", " a", "a ", "\xff\xfe"})
    EXPECT_NE(said(text("powder:F=", name)).find("UTF-8 text without quotes"), std::string::npos) << name;
  EXPECT_NE(said("powder:F=1").find("read as a value"), std::string::npos);
  EXPECT_NE(said("powder:count=2,count=3").find("count is given twice"), std::string::npos);
  EXPECT_NE(said("powder:range=80").find("low-high"), std::string::npos);
  EXPECT_NE(said("powder:width=0.05-0.1").find("between steps"), std::string::npos);
  EXPECT_NE(said("powder:wavelength=0.2").find("1.2 is the most"), std::string::npos);
  EXPECT_EQ(parse_powder("powder:steps=32").width_min, 2.5);  // coarse steps see every line
  EXPECT_NE(said("powderx").find("is not powder:"), std::string::npos);
}

TEST(Powder, TheWrittenTableHoldsTheSource) {
  const Folder folder;
  const std::string path = folder.path("patterns.csv");
  write_powder(parse_powder("powder:count=30,steps=64"), path);
  const DataOptions table{.data = path, .target = {"class"}, .test_fraction = 0, .wide = true};
  const Dataset read = open_part(table, "all"), made = open_part({.data = "powder:count=30,steps=64"}, "all");
  ASSERT_EQ(read.inputs.shape(), made.inputs.shape());
  EXPECT_EQ(read.class_names, made.class_names);
  EXPECT_TRUE(std::ranges::equal(read.targets.span<std::int32_t>(), made.targets.span<std::int32_t>()));
  for (std::int64_t i = 0; i < made.inputs.count(); ++i) ASSERT_NEAR(read.inputs.as<float>()[i], made.inputs.as<float>()[i], 2e-6);
}

TEST(Powder, EveryPatternHasALine) {
  const PowderOptions options = parse_powder("powder:count=60,steps=64,range=5-20");
  const Dataset data = simulate_powder(options, first(60));
  for (std::int64_t i = 0; i < 60; ++i) {
    const float* pattern = data.inputs.as<float>() + i * 64;
    EXPECT_EQ(*std::max_element(pattern, pattern + 64), 1) << i;
  }
  const auto nothing = parse_powder("powder:count=6,range=0-0.5");
  EXPECT_NE(error_of([&] { simulate_powder(nothing, first(6)); }, Fault::usage).find("no crystal has a line there"), std::string::npos);
}

TEST(ExtraTraining, FindsColumnsByTheirNames) {
  const Folder folder;
  std::string rows = "c,mn,si,y\n", others = "si,mn,c,y\n", renamed = "c,mn,s,y\n";
  for (int i = 0; i < 20; ++i) {
    const int c = 3 * i, mn = 7 * i % 5, si = i % 3;
    rows += text(c, ",", mn, ",", si, ",", 2 * c, "\n");
    others += text(si, ",", mn, ",", c, ",", 2 * c, "\n");
    renamed += text(c, ",", mn, ",", si, ",", 2 * c, "\n");
  }
  DataOptions options{.data = folder.write("a.csv", rows), .extra_training = folder.write("b.csv", others), .target = {"y"}};
  const Parts parts = open_training(options);
  const std::int64_t own = parts.train.size() - 20;
  for (std::int64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(parts.train.inputs.as<float>()[3 * (own + i)], 3 * i);
    EXPECT_EQ(parts.train.inputs.as<float>()[3 * (own + i) + 2], i % 3);
  }
  options.extra_training = folder.write("c.csv", renamed);
  EXPECT_NE(error_of([&] { open_training(options); }, Fault::usage).find("'si'"), std::string::npos);
}

TEST(ExtraTraining, SaysWhatIsHeldOutAndTrainedOn) {
  const auto warned = [](const DataOptions& options) {
    const Parts parts = open_training(options);
    return std::ranges::count_if(
        parts.notes, [](const std::string& note) { return note.starts_with("warning: ") && note.find("held out") < note.size(); });
  };
  EXPECT_EQ(warned({.data = "powder:count=40,steps=64", .extra_training = "powder:count=40,steps=64,seed=2"}), 0);
  EXPECT_EQ(warned({.data = "powder:count=40,steps=64", .extra_training = "powder:count=20,steps=64"}), 1);
  const Folder folder;
  std::string rows = "x,y,unit\n", more = "x,y,unit\n";
  for (int i = 0; i < 40; ++i) rows += text(i * i, ",", 3 * i, ",u", i / 4, "\n"), more += text(i * i, ",", i, ",v", i / 4, "\n");
  const std::string own = folder.write("own.csv", rows);
  EXPECT_EQ(warned({.data = own, .extra_training = own, .target = {"y"}, .group = "unit"}), 2);  // itself, and units that are tested
  EXPECT_EQ(warned({.data = own, .extra_training = folder.write("more.csv", more), .target = {"y"}, .group = "unit"}), 0);
}

TEST(ExtraTraining, StepsAreInTheSamePlaces) {
  const Folder folder;
  write_powder(parse_powder("powder:count=30,steps=64"), folder.path("some.csv"));
  DataOptions options{.data = folder.path("some.csv"), .extra_training = "powder:count=12,steps=64,range=20-90", .target = {"class"}};
  options.wide = true;
  EXPECT_NE(error_of([&] { open_training(options); }, Fault::usage).find("step 1 of the extra training items is at"), std::string::npos);
}

TEST(ExtraTraining, JoinsTheTrainingPartAlone) {
  const Folder folder;
  write_powder(parse_powder("powder:count=30,steps=64"), folder.path("some.csv"));
  write_powder(parse_powder("powder:count=12,steps=64,seed=2"), folder.path("more.csv"));
  write_powder(parse_powder("powder:count=12,steps=65"), folder.path("longer.csv"));
  DataOptions options{.data = folder.path("some.csv"), .target = {"class"}, .wide = true};
  const Parts alone = open_training(options);
  for (const std::string& extra : {folder.path("more.csv"), std::string("powder:count=12,steps=64,seed=2")}) {
    options.extra_training = extra;
    const Parts both = open_training(options);
    EXPECT_EQ(both.train.size(), alone.train.size() + 12);
    EXPECT_EQ(both.validation.size(), alone.validation.size());
    EXPECT_EQ(open_part(options, "test").size(), 6);
    const Dataset more = open_part({.data = "powder:count=12,steps=64,seed=2"}, "all");
    const float* joined = both.train.inputs.as<float>() + alone.train.inputs.count();
    for (std::int64_t i = 0; i < more.inputs.count(); ++i) ASSERT_NEAR(joined[i], more.inputs.as<float>()[i], 2e-6);
    EXPECT_EQ(both.train.targets.as<std::int32_t>()[alone.train.size() + 4], 1);
    EXPECT_EQ(both.train.names.size(), static_cast<std::size_t>(both.train.size()));
  }
  options.extra_training = folder.path("longer.csv");
  EXPECT_NE(error_of([&] { open_training(options); }, Fault::usage).find("no column"), std::string::npos);
  options.extra_training = "powder:count=12,steps=65";
  EXPECT_NE(error_of([&] { open_training(options); }, Fault::usage).find("extra training items are fp32 [65, 1]"), std::string::npos);
  options.extra_training = "powder:count=12,steps=64,F=cubic";
  EXPECT_NE(error_of([&] { open_training(options); }, Fault::usage).find("class 'cubic'"), std::string::npos);
  options.extra_training = folder.path("missing.csv");
  EXPECT_NE(error_of([&] { open_training(options); }, Fault::usage).find("missing.csv"), std::string::npos);
}

}  // namespace epitaxy::test
