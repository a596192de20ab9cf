// IDX files: values, byte order, compression, and everything a header can lie about.
#include "epitaxy/data/idx.h"

#include "files.h"

#if EPITAXY_HAS_ZLIB
#include <zlib.h>
#endif

namespace epitaxy::test {

TEST(Idx, ReadsBytesInOrder) {
  const Folder folder;
  const Tensor got = read_idx(folder.write("a", idx_bytes(8, {2, 1, 3}, std::string("\x01\x02\xff\x04\x05\x06", 6))));
  EXPECT_EQ(got.spec(), (TensorSpec{DType::uint8, {2, 1, 3}}));
  EXPECT_EQ(values_of<std::uint8_t>(got), (std::vector<std::uint8_t>{1, 2, 255, 4, 5, 6}));
}

TEST(Idx, ReadsBigEndianShortsIntegersAndFloats) {
  const Folder folder;
  EXPECT_EQ(values_of<std::uint16_t>(read_idx(folder.write("s", idx_bytes(0x0B, {2}, std::string("\x01\x02\x7f\xff", 4))))),
            (std::vector<std::uint16_t>{0x102, 0x7fff}));
  EXPECT_EQ(values_of<std::int32_t>(read_idx(folder.write("i", idx_bytes(0x0C, {2}, std::string("\xff\xff\xff\xfe\0\1\0\0", 8))))),
            (std::vector<std::int32_t>{-2, 65536}));
  EXPECT_EQ(values_of<float>(read_idx(folder.write("f", idx_bytes(0x0D, {1}, std::string("\x3f\x80\0\0", 4))))),
            (std::vector<float>{1.0f}));
}

TEST(Idx, RejectsNegativeShorts) {
  const Folder folder;
  const auto path = folder.write("s", idx_bytes(0x0B, {1}, "\x80\x01"));
  EXPECT_TRUE(mentions(error_of([&] { read_idx(path); }, Fault::usage), {path, "negative"}));
}

TEST(Idx, EveryTruncationIsOneClearError) {
  const Folder folder;
  const std::string whole = idx_bytes(8, {2, 2, 2}, "12345678");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto path = folder.write("t", whole.substr(0, length));
    EXPECT_TRUE(mentions(error_of([&] { read_idx(path); }, Fault::failure), {path, "truncated"})) << length << " bytes";
  }
  const auto longer = folder.write("t", whole + "9");
  EXPECT_TRUE(mentions(error_of([&] { read_idx(longer); }, Fault::failure), {longer, "damaged"}));
}

TEST(Idx, HostileSizesAreRefusedBeforeAllocation) {
  const Folder folder;
  for (const auto& sizes :
       std::vector<std::vector<std::uint32_t>>{{0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {1u << 31}}) {
    const auto path = folder.write("h", idx_bytes(0x0D, sizes, "1234"));
    EXPECT_TRUE(mentions(error_of([&] { read_idx(path); }, Fault::failure), {path}));
  }
}

TEST(Idx, RejectsOtherFiles) {
  const Folder folder;
  EXPECT_TRUE(mentions(error_of([&] { read_idx(folder.path("absent")); }, Fault::usage), {"absent", "does not exist"}));
  EXPECT_TRUE(mentions(error_of([&] { read_idx(folder.path()); }, Fault::usage), {"not a file"}));
  EXPECT_TRUE(mentions(error_of([&] { read_idx(folder.write("x", "plain text, no IDX")); }, Fault::usage), {"not an IDX file"}));
  EXPECT_TRUE(mentions(error_of([&] { read_idx(folder.write("x", idx_bytes(7, {1}, "1"))); }, Fault::usage), {"type 7"}));
  EXPECT_TRUE(mentions(error_of([&] { read_idx(folder.write("x", idx_bytes(8, {1, 1, 1, 1, 1}, "1"))); }, Fault::usage), {"5 dimensions"}));
}

TEST(Idx, WritesWhatItReads) {
  const Folder folder;
  Tensor values(cpu_backend(), {DType::fp32, {2, 2}});
  for (int i = 0; i < 4; ++i) values.as<float>()[i] = static_cast<float>(i) * -1.25f;
  write_idx(folder.path("w"), values);
  EXPECT_EQ(values_of<float>(read_idx(folder.path("w"))), values_of<float>(values));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1) << "the temporary file is gone";
  const Tensor wide(cpu_backend(), {DType::uint16, {1}});
  EXPECT_TRUE(mentions(error_of([&] { write_idx(folder.path("v"), wide); }, Fault::usage), {"PNG"}));
}

#if EPITAXY_HAS_ZLIB
std::string gzip(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(bytes.size() + 256, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST(Idx, ReadsGzipByContent) {
  const Folder folder;
  const Tensor got = read_idx(folder.write("no-ending", gzip(idx_bytes(8, {3}, "abc"))));
  EXPECT_EQ(values_of<std::uint8_t>(got), (std::vector<std::uint8_t>{'a', 'b', 'c'}));
}

TEST(Idx, EveryTruncationOfGzipIsAnError) {
  const Folder folder;
  std::string values;
  for (int i = 0; i < 200; ++i) values += static_cast<char>(i * i * 7 + i / 3);
  const std::string whole = gzip(idx_bytes(8, {10, 20}, values));
  for (std::size_t length = 2; length < whole.size(); ++length) {
    const auto path = folder.write("t.gz", whole.substr(0, length));
    EXPECT_TRUE(mentions(error_of([&] { read_idx(path); }, Fault::failure), {path})) << length << " bytes";
  }
  std::string flipped = whole;
  flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);  // in the checksum
  const auto path = folder.write("c.gz", flipped);
  EXPECT_TRUE(mentions(error_of([&] { read_idx(path); }, Fault::failure), {path, "damaged"}));
}

TEST(Idx, GzipThatClaimsTooMuch) {
  const Folder folder;
  const auto path = folder.write("bomb.gz", gzip(idx_bytes(8, {60000, 5000, 5000}, "x")));
  EXPECT_TRUE(mentions(error_of([&] { read_idx(path); }, Fault::failure), {path, "cannot hold"}));
}

TEST(Idx, ReadsRealMnist) {
  const std::string path = real_data("mnist/train-labels-idx1-ubyte.gz");
  NEEDS_REAL_DATA(path);
  const Tensor labels = read_idx(path);
  ASSERT_EQ(labels.shape(), Shape{60000});
  EXPECT_EQ(labels.as<std::uint8_t>()[0], 5);
  std::vector<int> counts(10);
  for (const auto label : labels.span<std::uint8_t>()) ++counts[label];
  EXPECT_EQ(counts, (std::vector<int>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}));
}
#endif

}  // namespace epitaxy::test
