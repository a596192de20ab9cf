// Tables as data sets: which columns are used, splits by group, leakage, and cells that cannot be used.
#include <algorithm>
#include <cmath>
#include <set>

#include "epitaxy/data/source.h"
#include "files.h"

namespace epitaxy::test {

bool noted(const std::vector<std::string>& notes, std::initializer_list<std::string> words) {
  return std::any_of(notes.begin(), notes.end(), [&](const auto& note) { return static_cast<bool>(mentions(note, words)); });
}

/// 60 rows: unnamed row number, id 1.., text, two features, a copy of the target with noise, a numeric and a text target, groups of 4.
std::string sample() {
  std::string rows = ",id,alloy,x1,x2,late,y,kind,batch\n";
  for (int i = 0; i < 60; ++i) {
    const int x1 = (i * 17) % 60, x2 = (i * 7) % 60, y = (i * 23) % 60;
    rows += std::to_string(i) + "," + std::to_string(i + 1) + ",Fe" + std::to_string(i) + "," + std::to_string(x1) + "," +
            std::to_string(x2) + "," + std::to_string(y * 2 + i % 5) + "," + std::to_string(y) + "," + (i % 3 ? "soft" : "hard") + ",b" +
            std::to_string(i / 4) + "\n";
  }
  return rows;
}

TEST(Table, ChoosesColumnsAndSaysSo) {
  const Folder folder;
  const Parts parts = open_training({.data = folder.write("t.csv", sample()), .target = {"y"}, .group = "batch"});
  EXPECT_EQ(parts.train.feature_names, (std::vector<std::string>{"x1", "x2", "late"}));
  EXPECT_EQ(parts.train.task, Task::regression);
  EXPECT_EQ(parts.train.target_names, (std::vector<std::string>{"y"}));
  EXPECT_TRUE(noted(parts.notes, {"features: x1, x2, late", "target: y"}));
  EXPECT_TRUE(noted(parts.notes, {"left out", "(unnamed)", "id (row number)", "alloy (text)", "kind (text)"}));
  EXPECT_TRUE(noted(parts.notes, {"leakage", "'late'", "'y'", "r = 1.00"}));
  EXPECT_FALSE(noted(parts.notes, {"leakage", "'x1'"}));
}

TEST(Table, RowsKeepTheirValues) {
  const Folder folder;
  const Dataset all = open_part({.data = folder.write("t.csv", sample()), .target = {"y", "x2"}, .features = {"late", "x1"}}, "all");
  EXPECT_EQ(all.inputs.shape(), (Shape{60, 2}));
  EXPECT_EQ(all.targets.shape(), (Shape{60, 2}));
  for (int i = 0; i < 60; ++i) {
    EXPECT_EQ(all.inputs.as<float>()[2 * i], static_cast<float>((i * 23) % 60 * 2 + i % 5));
    EXPECT_EQ(all.inputs.as<float>()[2 * i + 1], static_cast<float>((i * 17) % 60));
    EXPECT_EQ(all.targets.as<float>()[2 * i + 1], static_cast<float>((i * 7) % 60));
  }
  EXPECT_EQ(all.names[3], "line 5");
}

TEST(Table, PartsAreDisjointAndTheSameEachTime) {
  const Folder folder;
  const DataOptions options{.data = folder.write("t.csv", sample()), .target = {"y"}};
  const Parts parts = open_training(options);
  const Dataset test = open_part(options, "test");
  EXPECT_EQ(test.size(), 12);
  EXPECT_EQ(parts.validation.size(), 5);
  std::multiset<std::string> lines(parts.train.names.begin(), parts.train.names.end());
  lines.insert(parts.validation.names.begin(), parts.validation.names.end());
  lines.insert(test.names.begin(), test.names.end());
  EXPECT_EQ(lines.size(), 60u);
  EXPECT_EQ(std::set<std::string>(lines.begin(), lines.end()).size(), 60u);
  EXPECT_EQ(open_part(options, "validation").names, parts.validation.names);
  EXPECT_EQ(open_part(options, "train").names, parts.train.names);
}

TEST(Table, GroupsAreOnOneSide) {
  const Folder folder;
  const DataOptions options{.data = folder.write("t.csv", sample()), .target = {"y"}, .group = "batch"};
  const Parts parts = open_training(options);
  const Dataset test = open_part(options, "test");
  std::set<std::string> seen;
  for (const Dataset* part : {&parts.train, &parts.validation, &test}) {
    const std::set<std::string> groups(part->groups.begin(), part->groups.end());
    EXPECT_GE(groups.size(), 1u);
    for (const auto& group : groups) EXPECT_TRUE(seen.insert(group).second) << group << " is in two parts";
  }
  EXPECT_EQ(seen.size(), 15u);
}

TEST(Table, TextTargetsAreClasses) {
  const Folder folder;
  const auto path = folder.write("t.csv", sample());
  const Parts parts = open_training({.data = path, .target = {"kind"}});
  EXPECT_EQ(parts.train.task, Task::classification);
  EXPECT_EQ(parts.train.class_names, (std::vector<std::string>{"hard", "soft"}));
  const auto counts = class_counts(open_part({.data = path, .target = {"kind"}}, "test"));
  EXPECT_EQ(counts, (std::vector<std::int64_t>{4, 8}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path, .target = {"alloy"}}); }, Fault::usage), {"alloy", "60 different"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path, .target = {"kind"}, .task = Task::regression}); }, Fault::failure),
                       {"column 'kind'", "not a number"}));
  const auto numbers = folder.write("n.csv", "x,label\n11,10\n2,9\n3,10\n4,9\n5,10\n6,9\n7,10\n8,9\n9,10\n10,9\n");
  const Dataset ordered = open_part({.data = numbers, .target = {"label"}, .task = Task::classification}, "all");
  EXPECT_EQ(ordered.class_names, (std::vector<std::string>{"9", "10"})) << "numeric classes are in numeric order";
}

TEST(Table, BadCellsAreNamedInUsedColumnsOnly) {
  const Folder folder;
  std::string text = sample();
  text.replace(text.find("\n5,6,Fe5,") + 9, 2, "?");  // x1 of row 5, line 7: 85 % 60 = 25
  const DataOptions all{.data = folder.write("t.csv", text), .target = {"y"}, .test_fraction = 0};
  EXPECT_TRUE(mentions(error_of([&] { open_training(all); }, Fault::failure), {"t.csv", "line 7", "column 'x1'", "'?'"}));
  EXPECT_NO_THROW(open_training({.data = all.data, .target = {"y"}, .features = {"x2"}, .test_fraction = 0}));
  const auto gap = folder.write("g.csv", "x,y,z\n1,2,3\n2,,4\n3,4,nan\n");
  EXPECT_TRUE(
      mentions(error_of([&] { open_training({.data = gap, .target = {"y"}}); }, Fault::failure), {"line 3", "column 'y'", "empty"}));
  EXPECT_TRUE(mentions(error_of([&] { open_part({.data = gap, .target = {"x"}, .features = {"z"}}, "all"); }, Fault::failure),
                       {"line 4", "column 'z'", "finite"}));
}

TEST(Table, WrongColumns) {
  const Folder folder;
  const auto path = folder.write("t.csv", sample());
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path}); }, Fault::usage), {"--target", "x1, x2"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path, .target = {"yy"}}); }, Fault::usage), {"'yy'", "x1, x2"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path, .target = {"y"}, .features = {"x3"}}); }, Fault::usage), {"'x3'"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path, .target = {"y"}, .features = {"y"}}); }, Fault::usage), {"both"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path, .target = {"kind", "y"}}); }, Fault::usage), {"one target"}));
}

TEST(Table, FolderOfTablesNeverOpensTheTest) {
  const Folder folder;
  folder.write("train.csv", sample());
  folder.write("test.csv", "broken\n1,2,3\n");
  const DataOptions options{.data = folder.path(), .target = {"y"}};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.size() + parts.validation.size(), 60);
  error_of([&] { open_part(options, "test"); }, Fault::failure);
  folder.write("test.csv", ",id,alloy,x1,x2,late,y,kind,batch\n7,9,Fe,1,2,3,4,hard,b\n8,11,Fe,5,6,7,8,soft,b\n");
  const Dataset test = open_part(options, "test");
  EXPECT_EQ(test.feature_names, parts.train.feature_names) << "columns are chosen by the training table";
  EXPECT_EQ(values_of<float>(test.targets), (std::vector<float>{4, 8}));
}

TEST(Table, RealSteelAndConcrete) {
  const std::string steel = real_data("tabular/steel_strength.csv");
  NEEDS_REAL_DATA(steel);
  const DataOptions elements{
      .data = steel, .target = {"yield strength"}, .features = {"c", "mn", "si", "cr", "ni", "mo", "v", "n", "nb", "co", "w", "al", "ti"}};
  const Parts parts = open_training(elements);
  EXPECT_EQ(parts.train.inputs.dim(1), 13);
  EXPECT_EQ(parts.train.size() + parts.validation.size() + open_part(elements, "test").size(), 312);
  const std::string message = error_of([&] { open_training({.data = steel, .target = {"yield strength"}}); }, Fault::failure);
  EXPECT_TRUE(mentions(message, {"column 'elongation'", "empty"}));
  std::vector<std::string> features = elements.features;
  features.push_back("tensile strength");
  EXPECT_TRUE(
      noted(open_training({.data = steel, .target = {"yield strength"}, .features = features}).notes, {"leakage", "tensile strength"}));
  const Parts concrete = open_training({.data = real_data("tabular/concrete_compressive_strength.csv"), .target = {"strength"}});
  EXPECT_EQ(concrete.train.feature_names.size(), 8u);
}

TEST(Table, EveryRowIsCheckedWhicheverPartItFallsInto) {
  const Folder folder;
  for (int bad = 0; bad < 60; ++bad) {
    std::string rows = "x,y\n";
    for (int i = 0; i < 60; ++i) rows += (i == bad ? "" : std::to_string(i * 7 % 60)) + "," + std::to_string(i * 23 % 60) + "\n";
    const DataOptions options{.data = folder.write("t.csv", rows), .target = {"y"}};
    EXPECT_TRUE(mentions(error_of([&] { open_training(options); }, Fault::failure), {"line " + std::to_string(bad + 2), "'x'", "empty"}));
  }
}

TEST(Table, AColumnIsNamedOnce) {
  const Folder folder;
  const std::string path = folder.write("t.csv", sample());
  EXPECT_TRUE(mentions(error_of(
                           [&] {
                             open_training({.data = path, .target = {"y"}, .features = {"x1", "x1"}});
                           },
                           Fault::usage),
                       {"'x1'", "twice", "feature"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path, .target = {"y", "x1", "y"}}); }, Fault::usage), {"'y'", "target"}));
}

TEST(Table, DecimalCommasAreNamed) {
  const Folder folder;
  std::string rows = "x;y\n";
  for (int i = 0; i < 30; ++i) rows += std::to_string(i * 7 % 30) + ",5;" + std::to_string(i) + ",25\n";
  const std::string path = folder.write("t.csv", rows);
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = path, .target = {"y"}}); }, Fault::usage), {"decimal comma"}));
  EXPECT_TRUE(mentions(
      error_of([&] { open_training({.data = path, .target = {"y"}, .features = {"x"}, .task = Task::regression}); }, Fault::failure),
      {"line 2", "decimal comma"}));
}

}  // namespace epitaxy::test
