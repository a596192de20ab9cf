// Weight files: a file written by hand, round trips, and damaged or hostile files.
#include "epitaxy/train/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/support/compare.h"

namespace epitaxy {
namespace {

namespace fs = std::filesystem;

class Safetensors : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(::testing::TempDir()) / ("safetensors_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = (folder_ / "w.safetensors").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// A file of a header and data; `length` < 0: the header's own.
  void put(const std::string& header, std::size_t data_bytes, std::int64_t length = -1) {
    std::ofstream out(path_, std::ios::binary);
    const std::uint64_t size = length < 0 ? header.size() : static_cast<std::uint64_t>(length);
    out.write(reinterpret_cast<const char*>(&size), 8);
    out << header;
    for (std::size_t i = 0; i < data_bytes; ++i) out.put(static_cast<char>(i));
  }
  std::string message() {
    try {
      read_safetensors(path_);
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      EXPECT_NE(std::string(error.what()).find(path_), std::string::npos);
      return error.what();
    }
    return "accepted";
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(Safetensors, ReadsAFileWrittenByHand) {
  put(R"({"__metadata__":{"made":"by hand"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},"a":{"dtype":"U16","shape":[2],"data_offsets":[0,4]}}   )",
      12);
  std::map<std::string, std::string> metadata;
  const auto tensors = read_safetensors(path_, &metadata);
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(metadata.at("made"), "by hand");
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].tensor.as<std::uint16_t>()[1], 0x0302);
  EXPECT_EQ(tensors[1].tensor.shape(), (Shape{2, 1}));
  const std::uint32_t bits = 0x07060504;
  EXPECT_EQ(std::memcmp(tensors[1].tensor.data(), &bits, 4), 0);
}

TEST_F(Safetensors, RoundTripKeepsEveryBit) {
  std::vector<NamedTensor> tensors;
  std::uint64_t seed = 1;
  for (const DType dtype : {DType::fp32, DType::bf16, DType::fp16, DType::uint8, DType::uint16, DType::int32, DType::int64})
    tensors.push_back(
        {"x." + std::string(name(dtype)), test::make({dtype, {3, static_cast<std::int64_t>(seed)}}, test::Fill::integers(0, 9), seed++)});
  tensors.push_back({"empty", Tensor(cpu_backend(), {DType::fp32, {0, 4}})});
  tensors.push_back({"scalar", test::make({DType::fp32, Shape{}}, test::Fill::constant(2), 1)});
  write_safetensors(path_, tensors, {{"k", "v"}});
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);  // no temporary file is left
  const auto back = read_safetensors(path_);
  ASSERT_EQ(back.size(), tensors.size());
  for (const auto& want : tensors) {
    const auto got = std::find_if(back.begin(), back.end(), [&](const NamedTensor& t) { return t.name == want.name; });
    ASSERT_NE(got, back.end()) << want.name;
    ASSERT_EQ(got->tensor.spec(), want.tensor.spec());
    EXPECT_EQ(std::memcmp(got->tensor.data(), want.tensor.data(), want.tensor.bytes()), 0) << want.name;
  }
}

TEST_F(Safetensors, RefusesNamesThatOccurTwice) {
  const Tensor x = test::make({DType::fp32, {2}}, test::Fill::constant(1), 1);
  const std::vector<NamedTensor> twice{{"a", x}, {"a", x}}, reserved{{"__metadata__", x}};
  EXPECT_THROW(write_safetensors(path_, twice), Error);
  EXPECT_THROW(write_safetensors(path_, reserved), Error);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(Safetensors, AFolderThatIsGoneIsOneClearError) {
  const std::vector<NamedTensor> one{{"a", test::make({DType::fp32, {2}}, test::Fill::constant(1), 1)}};
  EXPECT_THROW(write_safetensors((folder_ / "missing" / "w").string(), one), Error);
}

TEST_F(Safetensors, EveryTruncationIsRefused) {
  const std::vector<NamedTensor> one{{"a", test::make({DType::fp32, {3}}, test::Fill::normal(), 1)}};
  write_safetensors(path_, one);
  const auto size = fs::file_size(path_);
  for (std::uintmax_t keep = 0; keep < size; ++keep) {
    write_safetensors(path_, one);
    fs::resize_file(path_, keep);
    EXPECT_NE(message(), "accepted") << keep << " of " << size << " bytes";
  }
}

TEST_F(Safetensors, DamagedAndHostileHeadersAreRefused) {
  struct Case {
    const char* header;
    std::size_t data;
    const char* says;
  };
  const Case cases[] = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "but the file has"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "but the file has"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "needs 12 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "offsets"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "begins at byte"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6, "begins at byte"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", 8, "twice"},
      {R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", 8, "F64"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "shape"},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,8]}})", 8, "shape"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}})", 8, "too large"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}})", 8, "too large"},
      {R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1, "shape"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "data_offsets"},
      {R"({"a":[1,2]})", 8, "damaged"},
      {R"([1,2])", 8, "not an object"},
      {R"({"a":[[[[[[[[[[1]]]]]]]]]]})", 8, "nested"},
      {R"({"a":)", 8, "damaged"},
      {"\xff\xfe", 8, "damaged"},
  };
  for (const auto& one : cases) {
    put(one.header, one.data);
    EXPECT_NE(message().find(one.says), std::string::npos) << one.header << " -> " << message();
  }
}

TEST_F(Safetensors, AHeaderLongerThanTheFileIsRefusedBeforeAnythingIsAllocated) {
  for (const std::int64_t length : {std::int64_t{1000}, std::int64_t{1} << 40, std::int64_t{0x7fffffffffffffff}}) {
    put("{}", 0, length);
    EXPECT_NE(message().find("header claims"), std::string::npos) << message();
  }
}

}  // namespace
}  // namespace epitaxy
