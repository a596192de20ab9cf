// NumPy arrays: values and types, damage, and arrays as data sets. The .npz fixtures have the layout of numpy.savez.
#include "epitaxy/data/npy.h"

#include <cmath>
#include <cstring>

#include "epitaxy/data/source.h"
#include "files.h"

namespace epitaxy::test {

/// A .npy file of format 1.
std::string npy_bytes(const std::string& descr, const std::string& shape, const std::string& values, const std::string& order = "False") {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
  header += std::string(63 - (10 + header.size()) % 64, ' ') + "\n";
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += {static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
  return bytes + header + values;
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), std::data(values), bytes.size());
  return bytes;
}

TEST(Npy, TypesBecomeInt32OrFp32) {
  const Folder folder;
  const auto read = [&](const std::string& descr, const std::string& values) {
    return read_npy(folder.write("a.npy", npy_bytes(descr, "(2,)", values)));
  };
  EXPECT_EQ(values_of<std::int32_t>(read("|b1", raw<std::uint8_t>({1, 0}))), (std::vector<std::int32_t>{1, 0}));
  EXPECT_EQ(values_of<std::int32_t>(read("|u1", raw<std::uint8_t>({200, 3}))), (std::vector<std::int32_t>{200, 3}));
  EXPECT_EQ(values_of<std::int32_t>(read("|i1", raw<std::int8_t>({-5, 3}))), (std::vector<std::int32_t>{-5, 3}));
  EXPECT_EQ(values_of<std::int32_t>(read("<u2", raw<std::uint16_t>({60000, 3}))), (std::vector<std::int32_t>{60000, 3}));
  EXPECT_EQ(values_of<std::int32_t>(read("<i8", raw<std::int64_t>({-7, INT32_MAX}))), (std::vector<std::int32_t>{-7, INT32_MAX}));
  EXPECT_EQ(values_of<float>(read("<f2", raw<std::uint16_t>({0x3c00, 0xc200}))), (std::vector<float>{1, -3}));
  EXPECT_EQ(values_of<float>(read("<f4", raw<float>({1.5f, -3}))), (std::vector<float>{1.5f, -3}));
  EXPECT_EQ(values_of<float>(read("<f8", raw<double>({0.1, -3}))), (std::vector<float>{0.1f, -3}));
}

TEST(Npy, ShapesAndFormats) {
  const Folder folder;
  const std::string six = raw<float>({0, 1, 2, 3, 4, 5});
  EXPECT_EQ(read_npy(folder.write("a.npy", npy_bytes("<f4", "(2, 3)", six))).shape(), (Shape{2, 3}));
  EXPECT_EQ(read_npy(folder.write("a.npy", npy_bytes("<f4", "()", raw<float>({4})))).shape(), Shape{});
  std::string two = npy_bytes("<f4", "(2, 3)", six);  // format 2: a header length of 4 bytes
  two[6] = 2;
  two.insert(10, 2, '\0');
  EXPECT_EQ(values_of<float>(read_npy(folder.write("b.npy", two))), (std::vector<float>{0, 1, 2, 3, 4, 5}));
}

TEST(Npy, DamageIsOneClearError) {
  const Folder folder;
  const std::string good = npy_bytes("<f4", "(2, 3)", raw<float>({0, 1, 2, 3, 4, 5}));
  const auto said = [&](const std::string& bytes, Fault fault) {
    const std::string path = folder.write("a.npy", bytes);
    return error_of([&] { read_npy(path); }, fault);
  };
  for (const std::size_t length : {7u, 9u, 40u, 128u, 151u})
    EXPECT_TRUE(mentions(said(good.substr(0, length), Fault::failure), {"a.npy", "truncated", "replace"})) << length;
  EXPECT_TRUE(mentions(said(good + "x", Fault::failure), {"damaged", "153 bytes", "152"}));
  EXPECT_TRUE(mentions(said("not an array", Fault::usage), {"a.npy", "not a NumPy array"}));
  EXPECT_TRUE(mentions(said(npy_bytes(">f4", "(1,)", "abcd"), Fault::usage), {"type >f4", "astype"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<U3", "(1,)", "abcdefghijkl"), Fault::usage), {"type <U3"}));
  EXPECT_TRUE(mentions(said(npy_bytes("|O", "(1,)", ""), Fault::usage), {"type |O"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<f4", "(1, 1)", "abcd", "True"), Fault::usage), {"Fortran", "ascontiguousarray"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<f4", "(-1,)", "abcd"), Fault::failure), {"no shape"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<f4", "(1000000000, 1000000000, 1000000000)", "abcd"), Fault::failure), {"gives the shape"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<f4", "(1,1,1,1,1,1,1)", "abcd"), Fault::usage), {"7 dimensions"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<i8", "(1,)", raw<std::int64_t>({1LL << 40})), Fault::usage), {"exceeds 32 bits"}));
}

TEST(Npz, StoredAndDeflated) {
  for (const char* name : {"savez.npz", "savez_compressed.npz"}) {
    if (!EPITAXY_HAS_ZLIB && std::string(name) == "savez_compressed.npz") {
      EXPECT_TRUE(mentions(error_of([&] { read_npz(fixture(name)); }, Fault::usage), {"zlib", "numpy.savez"}));
      continue;
    }
    const auto arrays = read_npz(fixture(name));
    ASSERT_EQ(arrays.size(), 3u) << name;
    EXPECT_EQ(arrays.at("x").shape(), (Shape{4, 3, 2}));
    EXPECT_EQ(arrays.at("x").as<float>()[23], 11.5f);
    EXPECT_EQ(values_of<std::int32_t>(arrays.at("y")), (std::vector<std::int32_t>{7, -2, 7, -2}));
    EXPECT_EQ(values_of<std::int32_t>(arrays.at("lengths")), (std::vector<std::int32_t>{3, 2, 3, 1}));
  }
}

TEST(Npz, DamageIsAnErrorWhereverItIs) {
  const Folder folder;
  EXPECT_TRUE(mentions(error_of([&] { read_npz(folder.write("a.npz", "hello")); }, Fault::usage), {"a.npz", "not an .npz"}));
  const std::string good = bytes_of(fixture("savez.npz"));
  for (std::size_t length = 2; length < good.size(); length += 97) {
    const std::string path = folder.write("a.npz", good.substr(0, length));
    EXPECT_TRUE(mentions(error_of([&] { read_npz(path); }, Fault::failure), {"a.npz", "replace the file"})) << length;
  }
  if (!EPITAXY_HAS_ZLIB) GTEST_SKIP() << "this build has no zlib";
  std::string bent = bytes_of(fixture("savez_compressed.npz"));
  bent[80] = static_cast<char>(bent[80] ^ 1);  // within the packed values of x
  EXPECT_TRUE(mentions(error_of([&] { read_npz(folder.write("a.npz", bent)); }, Fault::failure), {"a.npz", "array 'x'", "damaged"}));
  bent = good;
  bent[200] = static_cast<char>(bent[200] ^ 1);  // within the values of x as they are stored
  EXPECT_TRUE(mentions(error_of([&] { read_npz(folder.write("a.npz", bent)); }, Fault::failure), {"a.npz", "array 'x'", "checksum"}));
}

TEST(Arrays, SequencesWithLengthsAndClasses) {
  const Dataset all = open_part({.data = fixture("savez.npz")}, "all");
  EXPECT_EQ(all.task, Task::classification);
  EXPECT_EQ(all.class_names, (std::vector<std::string>{"-2", "7"}));
  EXPECT_EQ(values_of<std::int32_t>(all.targets), (std::vector<std::int32_t>{1, 0, 1, 0}));
  EXPECT_EQ(all.inputs.shape(), (Shape{4, 3, 2}));
  EXPECT_EQ(values_of<std::int32_t>(all.lengths), (std::vector<std::int32_t>{3, 2, 3, 1}));
  EXPECT_EQ(all.inputs.as<float>()[9], 4.5f);
  EXPECT_EQ(all.inputs.as<float>()[10], 0) << "steps beyond an item's length hold 0";
  const Dataset values = open_part({.data = fixture("savez.npz"), .task = Task::regression, .target_cap = 3}, "all");
  EXPECT_EQ(values_of<float>(values.targets), (std::vector<float>{3, -2, 3, -2}));
  const std::vector<std::string> paths{fixture("savez.npz")};
  EXPECT_EQ(values_of<std::int32_t>(open_unlabelled(paths, {}).lengths), (std::vector<std::int32_t>{3, 2, 3, 1}));
}

TEST(Arrays, FolderWithParts) {
  const Folder folder;
  folder.write("X_train.npy", npy_bytes("<f4", "(4, 2)", raw<float>({0, 1, 2, 3, 4, 5, 6, 7})));
  folder.write("y_train.npy", npy_bytes("<f8", "(4, 2)", raw<double>({0, 1, 2, 3, 4, 5, 6, 7})));
  folder.write("X_test.npy", npy_bytes("<f4", "(1, 2)", raw<float>({8, 9})));
  folder.write("y_test.npy", npy_bytes("<f8", "(1, 2)", raw<double>({10, 11})));
  const DataOptions options{.data = folder.path(), .validation_fraction = 0.25};
  const Parts parts = open_training(options);
  EXPECT_EQ(parts.train.inputs.shape(), (Shape{3, 2, 1}));
  EXPECT_EQ(parts.validation.size(), 1);
  EXPECT_FALSE(parts.train.lengths);
  EXPECT_EQ(parts.train.target_names, (std::vector<std::string>{"y 0", "y 1"}));
  const Dataset test = open_part(options, "test");
  EXPECT_EQ(values_of<float>(test.inputs), (std::vector<float>{8, 9}));
  EXPECT_EQ(values_of<float>(test.targets), (std::vector<float>{10, 11}));
  const std::vector<std::string> paths{folder.path("X_test.npy")};
  EXPECT_EQ(open_unlabelled(paths, {}).inputs.shape(), (Shape{1, 2, 1}));
}

TEST(Arrays, AValidationPartIsLikeTheTrainingPart) {
  const auto open = [](const std::string& x, const std::string& y) {
    const Folder folder;
    folder.write("x_train.npy", npy_bytes("<f4", "(2, 2)", raw<float>({0, 1, 2, 3})));
    folder.write("y_train.npy", npy_bytes("<f4", "(2,)", raw<float>({0, 1})));
    folder.write("x_val.npy", x);
    folder.write("y_val.npy", y);
    return open_training({.data = folder.path()});
  };
  const std::string x = npy_bytes("<f4", "(2, 2)", raw<float>({4, 5, 6, 7})), y = npy_bytes("<i4", "(2,)", raw<std::int32_t>({2, 3}));
  EXPECT_EQ(values_of<float>(open(x, y).validation.targets), (std::vector<float>{2, 3})) << "the training part decides what y is";
  const std::string longer = npy_bytes("<f4", "(2, 3)", raw<float>({4, 5, 6, 7, 8, 9}));
  EXPECT_TRUE(mentions(error_of([&] { open(longer, y); }, Fault::usage), {"validation", "[3, 1]", "[2, 1]"}));
  const std::string two = npy_bytes("<f4", "(2, 2)", raw<float>({4, 5, 6, 7}));
  EXPECT_TRUE(mentions(error_of([&] { open(x, two); }, Fault::usage), {"validation", "2 values", "1 values"}));
}

TEST(Arrays, GroupsStayTogether) {
  const Folder folder;
  std::string x, y, groups;
  for (int i = 0; i < 20; ++i) {
    x += raw<float>({static_cast<float>(i)});
    y += raw<float>({static_cast<float>(i % 7)});
    groups += raw<std::int32_t>({i / 4});
  }
  folder.write("x.npy", npy_bytes("<f4", "(20, 1)", x));
  folder.write("y.npy", npy_bytes("<f4", "(20,)", y));
  folder.write("groups.npy", npy_bytes("<i4", "(20,)", groups));
  const Dataset test = open_part({.data = folder.path()}, "test");
  ASSERT_EQ(test.size(), 4);
  for (const auto& group : test.groups) EXPECT_EQ(group, test.groups[0]);
}

TEST(Arrays, BadArraysAreNamed) {
  const auto said = [](const std::string& x, const std::string& y, const std::string& lengths, Fault fault) {
    const Folder folder;
    folder.write("x.npy", x);
    if (!y.empty()) folder.write("y.npy", y);
    if (!lengths.empty()) folder.write("lengths.npy", lengths);
    return error_of([&] { open_part({.data = folder.path()}, "all"); }, fault);
  };
  const std::string x = npy_bytes("<f4", "(2, 2)", raw<float>({0, 1, 2, 3})), y = npy_bytes("<i4", "(2,)", raw<std::int32_t>({0, 1}));
  EXPECT_TRUE(mentions(said(x, "", "", Fault::usage), {"array 'x'", "no targets", "array y"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<f4", "(4,)", raw<float>({0, 1, 2, 3})), y, "", Fault::usage), {"array 'x'", "[4]", "steps"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<f4", "(0, 2)", ""), y, "", Fault::failure), {"no values"}));
  EXPECT_TRUE(mentions(said(npy_bytes("<f4", "(2, 1, 2)", raw<float>({0, 1, 2, std::nanf("")})), y, "", Fault::failure),
                       {"array 'x'", "item 1, step 0, channel 1", "finite"}));
  EXPECT_TRUE(mentions(said(x, npy_bytes("<i4", "(3,)", raw<std::int32_t>({0, 1, 0})), "", Fault::usage), {"array 'y'", "[3]", "2 items"}));
  EXPECT_TRUE(mentions(said(x, npy_bytes("<f4", "(2, 0)", ""), "", Fault::usage), {"array 'y'", "[2, 0]"}));
  EXPECT_TRUE(mentions(said(x, npy_bytes("<f4", "(2,)", raw<float>({0, INFINITY})), "", Fault::failure), {"array 'y' item 1", "finite"}));
  EXPECT_TRUE(mentions(said(x, y, npy_bytes("<i4", "(2,)", raw<std::int32_t>({2, 0})), Fault::failure), {"lengths", "item 1: 0", "1..2"}));
  EXPECT_TRUE(mentions(said(x, y, npy_bytes("<f4", "(2,)", raw<float>({2, 1})), Fault::usage), {"lengths", "whole number"}));
  EXPECT_TRUE(
      mentions(error_of([] { open_part({.data = fixture("savez.npz"), .window = 3}, "all"); }, Fault::usage), {"window", "tables"}));
  const Folder folder;
  const std::string alone = folder.write("x.npy", x);
  EXPECT_TRUE(mentions(error_of([&] { open_part({.data = alone}, "all"); }, Fault::usage), {"one array", "y.npy"}));
}

}  // namespace epitaxy::test
