// Sequences in tables: order, windows, targets, padding, splits by unit, and what is said about tables that cannot be used.
#include <algorithm>
#include <set>

#include "epitaxy/data/normalise.h"
#include "epitaxy/data/source.h"
#include "files.h"

namespace epitaxy::test {

using Strings = std::vector<std::string>;

/// Rows of units a (5 steps) and b (3 steps), mixed and out of order: t, x = 10 t (b: + 100), z = -x, y = t * t.
const char* const kMixed =
    "unit,t,x,z,y\n"
    "a,2,20,-20,4\nb,1,110,-110,1\na,1,10,-10,1\na,3,30,-30,9\nb,2,120,-120,4\nb,0,100,-100,0\na,0,0,0,0\na,4,40,-40,16\n";

DataOptions mixed(const Folder& folder, std::int64_t window) {
  return {
      .data = folder.write("m.csv", kMixed), .target = {"y"}, .features = {"x", "z"}, .sequence = "unit", .time = "t", .window = window};
}

/// `units` units of 10 + u steps, x unique to the row, y = u.
std::string many_units(int units) {
  std::string rows = "unit,x,y\n";
  for (int u = 0; u < units; ++u)
    for (int t = 0; t < 10 + u; ++t) rows += "u" + std::to_string(u) + "," + std::to_string(1000 * u + t) + "," + std::to_string(u) + "\n";
  return rows;
}

TEST(Sequence, WindowsInTimeOrderWithTheTargetAtTheirEnd) {
  const Folder folder;
  const Dataset all = open_part(mixed(folder, 3), "all");
  ASSERT_EQ(all.inputs.shape(), (Shape{4, 3, 2}));
  EXPECT_FALSE(all.lengths);
  EXPECT_EQ(values_of<float>(all.inputs.slice(0, 1)), (std::vector<float>{0, 0, 10, -10, 20, -20}));
  EXPECT_EQ(values_of<float>(all.inputs.slice(2, 2)), (std::vector<float>{20, -20, 30, -30, 40, -40, 100, -100, 110, -110, 120, -120}));
  EXPECT_EQ(values_of<float>(all.targets), (std::vector<float>{4, 9, 16, 4}));
  EXPECT_EQ(all.names, (Strings{"unit a to t 2", "unit a to t 3", "unit a", "unit b"}));
  EXPECT_EQ(all.groups, (Strings{"a", "a", "a", "b"}));
  EXPECT_EQ(all.feature_names, (Strings{"x", "z"}));
}

TEST(Sequence, StrideCountsBackFromTheLastRow) {
  const Folder folder;
  DataOptions options = mixed(folder, 2);
  options.stride = 2;
  EXPECT_EQ(values_of<float>(open_part(options, "all").targets), (std::vector<float>{4, 16, 4}));
  options.stride = 100;
  EXPECT_EQ(values_of<float>(open_part(options, "all").targets), (std::vector<float>{16, 4}));
}

TEST(Sequence, WithoutTimeInFileOrder) {
  const Folder folder;
  DataOptions options = mixed(folder, 3);
  options.time = "";
  const Dataset all = open_part(options, "all");
  EXPECT_EQ(values_of<float>(all.inputs.slice(0, 1)), (std::vector<float>{20, -20, 10, -10, 30, -30}));
  EXPECT_EQ(all.names[0], "unit a to line 5");
}

TEST(Sequence, WholeSequencesArePaddedWithLengths) {
  const Folder folder;
  const Dataset all = open_part(mixed(folder, 0), "all");
  ASSERT_EQ(all.inputs.shape(), (Shape{2, 5, 2}));
  EXPECT_EQ(values_of<std::int32_t>(all.lengths), (std::vector<std::int32_t>{5, 3}));
  EXPECT_EQ(values_of<float>(all.inputs.slice(1, 1)), (std::vector<float>{100, -100, 110, -110, 120, -120, 0, 0, 0, 0}));
  EXPECT_EQ(values_of<float>(all.targets), (std::vector<float>{16, 4}));
  EXPECT_TRUE(all.groups.empty()) << "items of their own are drawn one by one";
}

TEST(Sequence, StandardisationDoesNotCountPadding) {
  const Folder folder;
  const Normalisation fitted = fit_normalisation(open_part(mixed(folder, 0), "all"), NormaliseKind::standardise);
  EXPECT_FLOAT_EQ(fitted.mean[0], (0 + 10 + 20 + 30 + 40 + 100 + 110 + 120) / 8.0f);
  const Normalisation range = fit_normalisation(open_part(mixed(folder, 0), "all"), NormaliseKind::minmax);
  EXPECT_FLOAT_EQ(range.scale[1], 1 / 120.0f);
}

TEST(Sequence, ShortOnesArePaddedWhereAsked) {
  const Folder folder;
  DataOptions options = mixed(folder, 4);
  const std::string said = error_of([&] { open_part(options, "all"); }, Fault::usage);
  EXPECT_TRUE(mentions(said, {"m.csv", "line 7", "unit b", "3 rows", "window of 4", "--pad"}));
  options.pad = true;
  const Dataset all = open_part(options, "all");
  ASSERT_EQ(all.inputs.shape(), (Shape{3, 4, 2}));
  EXPECT_EQ(values_of<std::int32_t>(all.lengths), (std::vector<std::int32_t>{4, 4, 3}));
  EXPECT_EQ(values_of<float>(all.inputs.slice(2, 1)), (std::vector<float>{100, -100, 110, -110, 120, -120, 0, 0}));
  options.window = 3;
  EXPECT_TRUE(open_part(options, "all").lengths) << "lengths are given wherever padding may occur";
}

TEST(Sequence, RemainingLifeIsCountedAndCapped) {
  const Folder folder;
  DataOptions options = mixed(folder, 1);
  options.target = {};
  options.remaining_life = true;
  const Dataset all = open_part(options, "all");
  EXPECT_EQ(all.target_names, (Strings{"remaining_life"}));
  EXPECT_EQ(values_of<float>(all.targets), (std::vector<float>{4, 3, 2, 1, 0, 2, 1, 0}));
  options.target_cap = 2.5;
  EXPECT_EQ(values_of<float>(open_part(options, "all").targets), (std::vector<float>{2.5, 2.5, 2, 1, 0, 2, 1, 0}));
  const auto hours = folder.write("h.csv", "unit,t,x\na,0,5\na,0.5,7\na,10,6\n");
  const Dataset timed = open_part({.data = hours, .sequence = "unit", .time = "t", .window = 1, .remaining_life = true}, "all");
  EXPECT_EQ(values_of<float>(timed.targets), (std::vector<float>{10, 9.5, 0})) << "in the unit of the time column";
}

TEST(Sequence, DatesAreOrderedAsText) {
  const Folder folder;
  const auto path = folder.write("d.csv", "run,at,x,y\nr,2026-01-02T10:00,2,2\nr,2026-01-02T09:00,1,1\nr,2026-01-03T00:00,3,3\n");
  const DataOptions options{.data = path, .target = {"y"}, .sequence = "run", .time = "at"};
  EXPECT_EQ(values_of<float>(open_part(options, "all").inputs), (std::vector<float>{1, 2, 3}));
}

TEST(Sequence, DatesThatDoNotOrderAsTextAreRefused) {
  const Folder folder;
  const auto times = [&](const std::string& first, const std::string& second) {
    const auto path = folder.write("d.csv", "run,at,x,y\nr," + second + ",2,2\nr," + first + ",1,1\n");
    return values_of<float>(open_part({.data = path, .target = {"y"}, .sequence = "run", .time = "at"}, "all").inputs);
  };
  const std::vector<float> ordered{1, 2};
  EXPECT_EQ(times("09:05", "10:00"), ordered);
  EXPECT_EQ(times("2026-01-31 23:59:59.5", "2026-02-01 00:00:00"), ordered);
  EXPECT_EQ(times("2026-01-01T00:00:05Z", "2026-01-01T00:00:05.5Z"), ordered);
  for (const char* bad : {"9:05", "22.11.2026", "1/2/2026", "2026-11-22 09:00 PM", "2026-11-22T09:00+01:00", "noon"})
    EXPECT_TRUE(
        mentions(error_of([&] { times("2026-01-01", bad); }, Fault::failure), {"d.csv", "line 2", "'at'", std::string("'") + bad + "'"}))
        << bad;
}

TEST(Sequence, TargetsCountWhereAnItemEnds) {
  const Folder folder;
  const auto path = folder.write("t.csv", "run,x,hard,kind\na,1,,\na,2,7,good\nb,3,,\nb,4,8,bad\n");
  const DataOptions hard{.data = path, .target = {"hard"}, .features = {"x"}, .sequence = "run"};
  EXPECT_EQ(values_of<float>(open_part(hard, "all").targets), (std::vector<float>{7, 8}));
  DataOptions kind = hard;
  kind.target = {"kind"};
  const Dataset kinds = open_part(kind, "all");
  EXPECT_EQ(kinds.class_names, (Strings{"bad", "good"}));
  EXPECT_EQ(values_of<std::int32_t>(kinds.targets), (std::vector<std::int32_t>{1, 0}));
  for (DataOptions windows : {hard, kind}) {
    windows.window = 1;
    EXPECT_TRUE(mentions(error_of([&] { open_part(windows, "all"); }, Fault::failure), {"t.csv", "line 2", "empty"}));
  }
}

TEST(Sequence, NoUnitIsOnTwoSides) {
  const Folder folder;
  const DataOptions options{.data = folder.write("u.csv", many_units(20)), .target = {"y"}, .sequence = "unit", .window = 4};
  const Parts parts = open_training(options);
  const Dataset test = open_part(options, "test");
  std::set<std::string> units;
  std::set<float> rows;  // x names the row: none is seen in two parts, in whichever window
  std::size_t distinct = 0;
  for (const Dataset* part : {&parts.train, &parts.validation, &test}) {
    ASSERT_GT(part->size(), 0);
    for (const auto& unit : std::set<std::string>(part->groups.begin(), part->groups.end()))
      EXPECT_TRUE(units.insert(unit).second) << unit << " is in two parts";
    const auto x = part->inputs.span<float>();
    const std::set<float> own(x.begin(), x.end());
    rows.insert(own.begin(), own.end());
    distinct += own.size();
  }
  EXPECT_EQ(units.size(), 20u);
  EXPECT_EQ(rows.size(), distinct);
  EXPECT_EQ(rows.size(), 20u * 10 + 190) << "every row is in some window";
  const Normalisation fitted = fit_normalisation(parts.train, NormaliseKind::standardise);
  double sum = 0;
  for (const float value : parts.train.inputs.span<float>()) sum += value;
  EXPECT_NEAR(fitted.mean[0], sum / static_cast<double>(parts.train.inputs.count()), 0.01) << "of the training part alone";
}

TEST(Sequence, FolderWithTestTargetsWithoutHeaders) {
  const Folder folder;
  folder.write("train_A.txt", "1 1 0.5 \n1 2 0.6 \n1 3 0.7 \n2 1 1.5 \n2 2 1.6 \n2 3 1.7 \n2 4 1.8 \n");
  folder.write("test_A.txt", "1 1 3.5\n1 2 3.6\n1 3 3.7\n\n2 1 4.5\n2 2 4.6\n");
  folder.write("left.txt", "7 \n130 \n");
  DataOptions options{.data = folder.path(),
                      .columns = {"unit", "cycle", "s"},
                      .sequence = "unit",
                      .time = "cycle",
                      .window = 2,
                      .remaining_life = true,
                      .target_cap = 125,
                      .test_targets = "left.txt"};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.size() + parts.validation.size(), 5);
  const Dataset test = open_part(options, "test");
  EXPECT_EQ(values_of<float>(test.inputs), (std::vector<float>{3.6f, 3.7f, 4.5f, 4.6f})) << "the last window of each unit";
  EXPECT_EQ(values_of<float>(test.targets), (std::vector<float>{7, 125}));
  options.target_cap = 0;
  EXPECT_EQ(values_of<float>(open_part(options, "test").targets), (std::vector<float>{7, 130}));
  folder.write("left.txt", "7\n");
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "test"); }, Fault::failure), {"left.txt", "1 rows", "2 sequences"}));
  folder.write("left.txt", "7\nmany\n");
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "test"); }, Fault::failure), {"left.txt", "line 2", "'many'"}));
  folder.write("test_B.txt", "1 1 1\n");
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "test"); }, Fault::usage), {"2 tables", "test_A.txt, test_B.txt"}));
}

TEST(Sequence, WholeSequencesOfOtherPartsFitTheTraining) {
  const Folder folder;
  folder.write("train.csv", "u,x,y\na,3,1\na,2,2\na,3,3\nb,4,4\nb,5,5\n");
  folder.write("test.csv", "u,x,y\nc,1,1\n");
  DataOptions options{.data = folder.path(), .target = {"y"}, .validation_fraction = 0.5, .sequence = "u"};
  const Dataset test = open_part(options, "test");
  EXPECT_EQ(test.inputs.shape(), (Shape{1, 3, 1}));
  EXPECT_EQ(values_of<std::int32_t>(test.lengths), (std::vector<std::int32_t>{1}));
  folder.write("test.csv", "u,x,y\nc,1,1\nc,2,1\nc,3,1\nc,4,1\n");
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "test"); }, Fault::usage), {"test.csv", "u c", "4 rows", "the 3 of", "--window"}));
}

TEST(Sequence, ManyStepsAreNamedInOneLine) {
  const Folder folder;
  std::string header = "label", row = "a";
  for (int t = 0; t < 40; ++t) header += "," + std::to_string(t) + ".5", row += ",1";
  const auto path = folder.write("w.csv", header + "\n" + row + "\n" + row + "\n");
  const Parts parts = open_training({.data = path, .target = {"label"}, .validation_fraction = 0, .test_fraction = 0, .wide = true});
  EXPECT_EQ(std::ranges::count(parts.notes, "features: 0.5, 1.5, 2.5, ..., 39.5 (40); target: label (classes)"), 1);
}

TEST(Sequence, WideTables) {
  const Folder folder;
  const auto path =
      folder.write("w.csv", "file,split,label,0.5,1.5,2.5\np,train,F,1,2,3\nq,test,I,4,5,6\nr,train,I,7,8,9\ns,val,F,10,11,12\n");
  const DataOptions options{.data = path, .target = {"label"}, .split_column = "split", .wide = true};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.inputs.shape(), (Shape{2, 3, 1}));
  EXPECT_EQ(values_of<float>(parts.train.inputs), (std::vector<float>{1, 2, 3, 7, 8, 9}));
  EXPECT_EQ(parts.train.class_names, (Strings{"F", "I"}));
  EXPECT_EQ(parts.train.feature_names, (Strings{"0.5", "1.5", "2.5"}));
  EXPECT_EQ(values_of<float>(parts.validation.inputs), (std::vector<float>{10, 11, 12}));
  EXPECT_EQ(open_part(options, "test").names, (Strings{"line 3"}));
  EXPECT_EQ(values_of<std::int32_t>(open_part(options, "test").targets), (std::vector<std::int32_t>{1}));
  const std::vector<std::string> paths{folder.write("new.csv", "2.5,name,0.5,1.5\n3,n,1,2\n")};
  const Dataset fresh = open_unlabelled(paths, {.features = {"0.5", "1.5", "2.5"}, .wide = true});
  EXPECT_EQ(fresh.inputs.shape(), (Shape{1, 3, 1}));
  EXPECT_EQ(values_of<float>(fresh.inputs), (std::vector<float>{1, 2, 3}));
}

TEST(Sequence, WideRowsMayEndEarlyWhereAsked) {
  const Folder folder;
  const auto path = folder.write("w.csv", "y,a,b,c\n1,1,2,3\n2,4,,\n3,5,6,\n");
  DataOptions options{.data = path, .target = {"y"}, .features = {"a", "b", "c"}, .wide = true};
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "all"); }, Fault::failure), {"line 3", "column 'b'", "empty"}));
  options.pad = true;
  const Dataset all = open_part(options, "all");
  EXPECT_EQ(values_of<std::int32_t>(all.lengths), (std::vector<std::int32_t>{3, 1, 2}));
  EXPECT_EQ(values_of<float>(all.inputs), (std::vector<float>{1, 2, 3, 4, 0, 0, 5, 6, 0}));
  folder.write("w.csv", "y,a,b,c\n1,1,2,3\n2,,,\n");
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "all"); }, Fault::failure), {"line 3", "without steps"}));
  folder.write("w.csv", "y,a,b,c\n1,1,2,3\n2,1,,3\n");
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "all"); }, Fault::failure), {"line 3", "column 'b'", "empty"}));
}

TEST(Sequence, ASplitColumnHoldsForRowsToo) {
  const Folder folder;
  const auto path = folder.write("t.csv", "part,x,y\ntrain,8,1\ntest,2,2\ntrain,3,3\nvalidation,4,4\nextra,5,5\n");
  const DataOptions options{.data = path, .target = {"y"}, .split_column = "part"};
  const Parts parts = open_training(options);
  EXPECT_EQ(values_of<float>(parts.train.inputs), (std::vector<float>{8, 3}));
  EXPECT_TRUE(std::any_of(parts.notes.begin(), parts.notes.end(), [](const auto& note) {
    return mentions(note, {"'part'", "1 'extra'"});
  }));
  EXPECT_EQ(values_of<float>(open_part(options, "extra").inputs), (std::vector<float>{5}));
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "holdout"); }, Fault::usage), {"no part 'holdout'"}));
}

TEST(Sequence, WholeSequencesOfASplitColumnAreOfOneLength) {
  const Folder folder;
  const auto path = folder.write("w.csv", "part,run,x,y\ntrain,a,1,1\ntrain,a,2,2\ntrain,b,3,3\nval,c,4,4\nval,c,5,5\nval,c,6,6\n");
  const DataOptions options{.data = path, .target = {"y"}, .features = {"x"}, .split_column = "part", .sequence = "run"};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.inputs.shape(), (Shape{2, 3, 1}));
  EXPECT_EQ(values_of<std::int32_t>(parts.train.lengths), (std::vector<std::int32_t>{2, 1}));
  EXPECT_EQ(parts.validation.inputs.shape(), (Shape{1, 3, 1}));
}

TEST(Sequence, PredictionReadsTheLastWindowOrMany) {
  const Folder folder;
  DataOptions options = mixed(folder, 2);
  options.steps = 2;
  const std::vector<std::string> paths{options.data};
  EXPECT_EQ(open_unlabelled(paths, options).names, (Strings{"unit a", "unit b"}));
  EXPECT_EQ(values_of<float>(open_unlabelled(paths, options).inputs), (std::vector<float>{30, -30, 40, -40, 110, -110, 120, -120}));
  EXPECT_EQ(open_unlabelled(paths, options, 2).names, (Strings{"unit a to t 2", "unit a", "unit b"}));
}

TEST(Sequence, BadRowsAreNamed) {
  const Folder folder;
  const auto said = [&](const std::string& rows, Fault fault = Fault::failure) {
    const DataOptions options{.data = folder.write("s.csv", "unit,t,x,y\n" + rows),
                              .target = {"y"},
                              .features = {"x"},
                              .sequence = "unit",
                              .time = "t",
                              .window = 2};
    return error_of([&] { open_part(options, "all"); }, fault);
  };
  EXPECT_TRUE(mentions(said("a,0,1,1\na,1,2\n"), {"s.csv", "line 3", "3 cells", "header has 4"}));
  EXPECT_TRUE(mentions(said("a,0,1,1\na,1,hot,1\n"), {"s.csv", "line 3", "column 'x'", "'hot'"}));
  EXPECT_TRUE(mentions(said("a,0,1,1\na,1,nan,1\n"), {"s.csv", "line 3", "column 'x'", "finite"}));
  EXPECT_TRUE(mentions(said("a,0,1,1\na,1,-inf,1\n"), {"s.csv", "line 3", "column 'x'", "finite"}));
  EXPECT_TRUE(mentions(said("a,0,1,1\na,1,1,\n"), {"s.csv", "line 3", "column 'y'", "empty"}));
  EXPECT_TRUE(mentions(said("a,0,1,1\n,1,1,1\n"), {"s.csv", "line 3", "column 'unit'", "empty"}));
  EXPECT_TRUE(mentions(said("a,0,1,1\na,,1,1\n"), {"s.csv", "line 3", "column 't'", "empty"}));
  EXPECT_TRUE(mentions(said("a,0,1,1\na,0,1,1\n"), {"s.csv", "line 3", "column 't'", "line 2"}));
  EXPECT_TRUE(mentions(said("a,0,1,1\nb,0,1,1\nb,1,1,1\n", Fault::usage), {"s.csv", "line 2", "unit a", "1 rows", "window of 2"}));
}

TEST(Sequence, OptionsThatDoNotGoTogether) {
  const Folder folder;
  const DataOptions good = mixed(folder, 2);
  const auto said = [](const DataOptions& options) { return error_of([&] { open_part(options, "all"); }, Fault::usage); };
  DataOptions bad = good;
  bad.wide = true;
  EXPECT_TRUE(mentions(said(bad), {"--wide", "--sequence"}));
  EXPECT_TRUE(mentions(said({.data = good.data, .target = {"y"}, .window = 3}), {"--window", "--sequence"}));
  EXPECT_TRUE(mentions(said({.data = good.data, .target = {"y"}, .remaining_life = true}), {"--remaining-life", "--sequence"}));
  bad = good;
  bad.remaining_life = true;
  EXPECT_TRUE(mentions(said(bad), {"--remaining-life", "--target"}));
  bad = good;
  bad.target = {};
  bad.remaining_life = true;
  bad.window = 0;
  EXPECT_TRUE(mentions(said(bad), {"--remaining-life", "--window"}));
  bad = good;
  bad.window = 0;
  bad.stride = 2;
  EXPECT_TRUE(mentions(said(bad), {"--stride", "--window"}));
  const std::vector<std::string> paths{good.data};
  EXPECT_TRUE(mentions(error_of([&] { open_unlabelled(paths, mixed(folder, 0), 2); }, Fault::usage), {"--every", "--window"}));
  bad = good;
  bad.test_targets = "f.txt";
  EXPECT_TRUE(mentions(said(bad), {"--test-targets", "test part"}));
  EXPECT_TRUE(mentions(said({.data = "lattice:count=9", .window = 3}), {"lattice", "window", "tables"}));
  const DataOptions two_names{.data = good.data, .target = {"b"}, .columns = {"a", "b"}};
  EXPECT_TRUE(mentions(error_of([&] { open_part(two_names, "all"); }, Fault::failure), {"m.csv", "line 1", "5 cells", "2"}));
  bad = good;
  bad.split_column = "t";
  EXPECT_TRUE(mentions(error_of([&] { open_training(bad); }, Fault::failure), {"m.csv", "column 't'", "unit"}));
  const auto numbers = folder.write("n.txt", "1 2 3\n4 5 6\n");
  EXPECT_TRUE(mentions(said({.data = numbers, .target = {"y"}}), {"n.txt", "no header", "--columns"}));
}

TEST(SequenceReal, Cmapss) {
  const std::string folder = real_data("cmapss_fd001");
  NEEDS_REAL_DATA(folder);
  if (!EPITAXY_HAS_ZLIB) GTEST_SKIP() << "this build has no zlib";
  DataOptions options{.data = folder,
                      .sequence = "unit",
                      .time = "cycle",
                      .window = 30,
                      .remaining_life = true,
                      .target_cap = 125,
                      .test_targets = "RUL_FD001.txt"};
  options.columns = {"unit", "cycle"};
  for (int i = 1; i <= 24; ++i) options.columns.push_back("c" + std::to_string(i));
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.size() + parts.validation.size(), 20631 - 100 * 29);
  EXPECT_EQ(parts.train.inputs.dim(2), 24);
  const std::set<std::string> units(parts.train.groups.begin(), parts.train.groups.end());
  for (const auto& unit : parts.validation.groups) EXPECT_FALSE(units.contains(unit));
  const Dataset test = open_part(options, "test");
  ASSERT_EQ(test.inputs.shape(), (Shape{100, 30, 24}));
  EXPECT_EQ(test.targets.as<float>()[0], 112);
  EXPECT_EQ(test.targets.as<float>()[99], 20);
  EXPECT_EQ(test.inputs.as<float>()[29 * 24 + 3], 518.67f) << "sensor 1 of the last cycle";
}

TEST(SequenceReal, Spectra) {
  const std::string file = real_data("xrd_cubic/spectra_1d.csv");
  NEEDS_REAL_DATA(file);
  const DataOptions options{.data = file, .target = {"label"}, .split_column = "split", .wide = true};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.size() + parts.validation.size(), 1330);
  EXPECT_EQ(parts.train.inputs.shape().tail(), (Shape{320, 1}));
  EXPECT_EQ(open_part(options, "test").size(), 196);
}

}  // namespace epitaxy::test
