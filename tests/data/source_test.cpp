// Sources: what is found in folders, tables and the simulator; splits that never open test files; bad data.
#include "epitaxy/data/source.h"

#include <algorithm>
#include <set>

#include "epitaxy/data/image.h"
#include "epitaxy/data/twins.h"
#include "files.h"

namespace epitaxy::test {

bool any_mentions(const std::vector<std::string>& notes, std::initializer_list<std::string> words) {
  return std::any_of(notes.begin(), notes.end(), [&](const auto& note) { return static_cast<bool>(mentions(note, words)); });
}

/// `count` images of 4 x 4, image i full of i, labels i mod classes.
void write_idx_part(const Folder& folder, const std::string& part, int count, int classes) {
  std::string images, labels;
  for (int i = 0; i < count; ++i) {
    images += std::string(16, static_cast<char>(i));
    labels += static_cast<char>(i % classes);
  }
  const auto n = static_cast<std::uint32_t>(count);
  folder.write(part + "-images-idx3-ubyte", idx_bytes(8, {n, 4, 4}, images));
  folder.write(part + "-labels-idx1-ubyte", idx_bytes(8, {n}, labels));
}

TEST(SourceIdx, TrainIsSplitAndTestIsNeverOpened) {
  const Folder folder;
  write_idx_part(folder, "train", 100, 4);
  folder.write("t10k-images-idx3-ubyte", "broken");
  folder.write("t10k-labels-idx1-ubyte", "broken");
  const DataOptions options{.data = folder.path()};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.inputs.spec(), (TensorSpec{DType::uint8, {90, 4, 4, 1}}));
  EXPECT_EQ(parts.validation.size(), 10);
  EXPECT_EQ(parts.train.class_names, (std::vector<std::string>{"0", "1", "2", "3"}));
  for (const auto count : class_counts(parts.validation)) EXPECT_NEAR(static_cast<double>(count), 2.5, 0.5);
  EXPECT_EQ(count_twins(parts.validation, parts.train), 0);
  EXPECT_EQ(count_twins(open_part(options, "validation"), parts.validation), 10) << "the same split again";
  EXPECT_EQ(open_part(options, "train").size(), 90);
  EXPECT_TRUE(any_mentions(parts.notes, {"validation part: 10 of 100", "stratified"}));
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "test"); }, Fault::usage), {"t10k", "not an IDX file"}));
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "nothing"); }, Fault::usage), {"no part 'nothing'"}));
}

TEST(SourceIdx, PartsOnDiskAreUsed) {
  const Folder folder;
  write_idx_part(folder, "train", 20, 2);
  write_idx_part(folder, "val", 6, 2);
  write_idx_part(folder, "test", 4, 2);
  write_idx_part(folder, "real", 3, 1);
  const DataOptions options{.data = folder.path()};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.size(), 20);
  EXPECT_EQ(parts.validation.size(), 6);
  EXPECT_EQ(open_part(options, "test").size(), 4);
  EXPECT_EQ(open_part(options, "real").size(), 3);
}

TEST(SourceIdx, KerasTailAndDigitValues) {
  const Folder folder;
  write_idx_part(folder, "train", 10, 5);
  const Parts parts = open_training({.data = folder.path(), .task = Task::regression, .validation_fraction = 0.2, .unshuffled_tail = true});
  EXPECT_EQ(values_of<float>(parts.validation.targets), (std::vector<float>{3, 4}));
  EXPECT_EQ(parts.validation.inputs.as<std::uint8_t>()[0], 8);
  EXPECT_EQ(parts.train.targets.spec(), (TensorSpec{DType::fp32, {8, 1}}));
  EXPECT_EQ(parts.train.task, Task::regression);
  EXPECT_TRUE(parts.train.class_names.empty());
}

TEST(SourceIdx, CountsMustAgree) {
  const Folder folder;
  write_idx_part(folder, "train", 10, 2);
  folder.write("train-labels-idx1-ubyte", idx_bytes(8, {9}, std::string(9, '\0')));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path()}); }, Fault::usage), {"10 images", "9 labels"}));
  std::filesystem::remove(folder.path("train-labels-idx1-ubyte"));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path()}); }, Fault::usage), {"no labels"}));
}

TEST(Source, WhatIsNoData) {
  const Folder folder;
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path("none")}); }, Fault::usage), {"none", "does not exist"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path()}); }, Fault::usage), {"holds no data", "train-images"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.write("a.bin", "x")}); }, Fault::usage), {"neither"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({}); }, Fault::usage), {"no data given"}));
}

#if EPITAXY_HAS_PNG
void write_image(const Folder& folder, const std::string& name, int value, std::int64_t size = 4, DType dtype = DType::uint8,
                 std::int64_t channels = 1) {
  Tensor pixels(cpu_backend(), {dtype, {size, size, channels}});
  for (std::int64_t i = 0; i < pixels.count(); ++i) {
    if (dtype == DType::uint8)
      pixels.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(value);
    else
      pixels.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(value);
  }
  std::filesystem::create_directories(std::filesystem::path(folder.path(name)).parent_path());
  write_png(folder.path(name), pixels);
}

TEST(SourceFolder, PartsWithClasses) {
  const Folder folder;
  for (int i = 0; i < 20; ++i)
    write_image(folder, "train/" + std::string(i % 2 ? "b" : "a") + "/" + std::to_string(100 + i) + ".png", i * 1000, 4, DType::uint16);
  folder.write("train/a/notes.txt", "not an image");
  folder.write("test/a/0.png", "broken");
  const DataOptions options{.data = folder.path()};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.inputs.spec(), (TensorSpec{DType::uint16, {18, 4, 4, 1}}));
  EXPECT_EQ(class_counts(parts.validation), (std::vector<std::int64_t>{1, 1}));
  EXPECT_EQ(parts.train.class_names, (std::vector<std::string>{"a", "b"}));
  for (std::int64_t i = 0; i < 18; ++i)
    EXPECT_EQ(parts.train.inputs.as<std::uint16_t>()[i * 16] / 1000 % 2, parts.train.targets.as<std::int32_t>()[i])
        << parts.train.names[static_cast<std::size_t>(i)];
  EXPECT_TRUE(mentions(error_of([&] { open_part(options, "test"); }, Fault::usage), {"test/a/0.png"}));
}

TEST(SourceFolder, PlainClassesAreSplitWithoutReadingTheTestPart) {
  const Folder folder;
  for (int i = 0; i < 40; ++i) write_image(folder, std::string(i % 2 ? "1.5" : "0.5") + "/" + std::to_string(100 + i) + ".png", i);
  const DataOptions options{.data = folder.path()};
  const Dataset test = open_part(options, "test");
  EXPECT_EQ(class_counts(test), (std::vector<std::int64_t>{4, 4}));
  for (const auto& name : test.names) std::ofstream(name) << "broken";
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.size() + parts.validation.size(), 32);
  EXPECT_EQ(parts.validation.size(), 3);
  EXPECT_EQ(count_twins(test, parts.train) + count_twins(test, parts.validation), 0);
  EXPECT_TRUE(any_mentions(parts.notes, {"test part: 8 of 40"}));
  error_of([&] { open_part(options, "test"); }, Fault::usage);
  const Parts values = open_training({.data = folder.path(), .task = Task::regression});
  const auto targets = values_of<float>(values.train.targets);
  EXPECT_EQ(std::set<float>(targets.begin(), targets.end()), (std::set<float>{0.5f, 1.5f})) << "class names that are numbers are values";
}

TEST(SourceFolder, MixedImagesNameTwoFiles) {
  const auto message = [](std::int64_t size, DType dtype, std::int64_t channels) {
    const Folder folder;
    write_image(folder, "train/a/1.png", 1);
    write_image(folder, "train/a/2.png", 2, size, dtype, channels);
    return error_of([&] { open_training({.data = folder.path(), .validation_fraction = 0}); }, Fault::usage);
  };
  EXPECT_TRUE(mentions(message(5, DType::uint8, 1), {"a/1.png", "a/2.png", "4 x 4", "5 x 5"}));
  EXPECT_TRUE(mentions(message(4, DType::uint16, 1), {"a/1.png", "a/2.png", "uint8", "uint16"}));
  EXPECT_TRUE(mentions(message(4, DType::uint8, 3), {"a/1.png", "a/2.png", "1 channel", "3 channels"}));
}

TEST(SourceFolder, EmptyFolders) {
  const Folder folder;
  std::filesystem::create_directories(folder.path("train"));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path()}); }, Fault::usage), {"no class folders"}));
  write_image(folder, "train/a/1.png", 1);
  std::filesystem::create_directories(folder.path("train/b"));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path()}); }, Fault::usage), {"train/b", "no images"}));
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path(), .group = "g"}); }, Fault::usage), {"group", "CSV"}));
}

TEST(SourceFolder, ValidationFolderUsesTheClassesOfTraining) {
  const Folder folder;
  for (const char* name : {"train/a/1.png", "train/b/2.png", "train/c/3.png", "val/b/4.png", "val/c/5.png"}) write_image(folder, name, 1);
  const Parts parts = open_training({.data = folder.path()});
  EXPECT_EQ(parts.train.size(), 3);
  EXPECT_EQ(values_of<std::int32_t>(parts.validation.targets), (std::vector<std::int32_t>{1, 2}));
  write_image(folder, "val/d/6.png", 1);
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path()}); }, Fault::usage), {"class 'd'"}));
}

TEST(Unlabelled, FilesFoldersAndTables) {
  const Folder folder;
  write_image(folder, "in/2.png", 2);
  write_image(folder, "in/1.png", 1);
  const std::vector<std::string> paths{folder.path("in")};
  const Dataset images = open_unlabelled(paths, {});
  ASSERT_EQ(images.size(), 2);
  EXPECT_EQ(images.inputs.as<std::uint8_t>()[16], 2);
  EXPECT_FALSE(images.targets);
  const std::vector<std::string> table{folder.write("t.csv", "a,b,c\n1,x,3\n4,y,6\n")};
  EXPECT_EQ(values_of<float>(open_unlabelled(table, {.features = {"c", "a"}}).inputs), (std::vector<float>{3, 1, 6, 4}));
  EXPECT_TRUE(mentions(error_of([&] { open_unlabelled(table, {.features = {"b"}}); }, Fault::failure), {"line 2", "column 'b'"}));
  const std::vector<std::string> absent{folder.path("absent.png")};
  error_of([&] { open_unlabelled(absent, {}); }, Fault::usage);
}
#endif

TEST(SourceLattice, IsSplitLikeTheOthers) {
  const DataOptions options{.data = "lattice:count=50,size=32,spacing=5-7"};
  const Parts parts = open_training(options);
  const Dataset test = open_part(options, "test");
  EXPECT_EQ(class_counts(test), (std::vector<std::int64_t>(5, 2)));
  EXPECT_EQ(parts.train.size(), 36);
  EXPECT_EQ(parts.validation.size(), 4);
  EXPECT_EQ(count_twins(test, open_part(options, "all")), 10);
  EXPECT_EQ(count_twins(test, parts.train) + count_twins(test, parts.validation) + count_twins(parts.validation, parts.train), 0);
  EXPECT_TRUE(mentions(error_of([] { open_training({.data = "lattice:cuont=3"}); }, Fault::usage), {"'cuont'", "count, size"}));
}

TEST(Source, TooLittleMemoryIsOneClearError) {
  const DataOptions huge{.data = "lattice:count=1000000,size=4096", .validation_fraction = 0};  // 13 TB
  EXPECT_TRUE(mentions(error_of([&] { open_training(huge); }, Fault::failure), {"MiB of memory", "are free", "fewer or smaller"}));
}

TEST(SourceReal, MnistAndNeu) {
  const std::string mnist = real_data("mnist");
  NEEDS_REAL_DATA(mnist);
  if (!EPITAXY_HAS_ZLIB) GTEST_SKIP() << "this build has no zlib";
  const Parts keras = open_training({.data = mnist, .task = Task::regression, .validation_fraction = 0.2, .unshuffled_tail = true});
  EXPECT_EQ(keras.train.inputs.shape(), (Shape{48000, 28, 28, 1}));
  EXPECT_EQ(keras.validation.size(), 12000);
  EXPECT_EQ(keras.train.targets.as<float>()[0], 5.0f);
  const DataOptions neu{.data = real_data("neu_cls_64")};
  const Parts parts = open_training(neu);
  EXPECT_EQ(class_counts(parts.train), (std::vector<std::int64_t>(6, 216)));
  EXPECT_EQ(class_counts(parts.validation), (std::vector<std::int64_t>(6, 24)));
  EXPECT_EQ(count_twins(open_part(neu, "test"), open_part({.data = neu.data, .validation_fraction = 0}, "train")), 1);
}

TEST(SourceReal, StemImageFolder) {
  const std::string stem = real_data("stem2d_lattice/images");
  NEEDS_REAL_DATA(stem);
#if !EPITAXY_HAS_PNG
  GTEST_SKIP() << "skipped: this build has no PNG";
#endif
  const Parts parts = open_training({.data = stem, .validation_fraction = 0});
  EXPECT_EQ(parts.train.inputs.spec(), (TensorSpec{DType::uint8, {859, 128, 128, 1}}));
  EXPECT_EQ(class_counts(parts.train), (std::vector<std::int64_t>{367, 137, 261, 27, 67}));
  const Dataset test = open_part({.data = stem}, "test");
  EXPECT_EQ(class_counts(test), (std::vector<std::int64_t>{92, 35, 66, 7, 17}));
  EXPECT_EQ(count_twins(test, parts.train), 13);
}

TEST(SourceIdx, ImagesThatAreNotFiniteAreNamed) {
  const Folder folder;
  const std::string path = folder.write("x-idx3", std::string("\0\0\x0d\x03\0\0\0\x02\0\0\0\x01\0\0\0\x02", 16) +
                                                      std::string("\x3f\x80\0\0\x3f\x80\0\0\x7f\xc0\0\0\x3f\x80\0\0", 16));
  const std::vector<std::string> paths{path};
  EXPECT_TRUE(mentions(error_of([&] { open_unlabelled(paths, {}); }, Fault::failure), {"item 1", "not finite"}));
}

TEST(SourceFolder, ClassNamesAreText) {
  const Folder folder;
  for (const char* name : {"a", "\xe4"})
    for (int i = 0; i < 3; ++i) folder.write(std::string("images/") + name + "/" + std::to_string(i) + ".png", "");
  EXPECT_TRUE(mentions(error_of([&] { open_training({.data = folder.path("images")}); }, Fault::usage), {"UTF-8", "rename"}));
}

}  // namespace epitaxy::test
