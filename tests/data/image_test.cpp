// PNG, JPEG, BMP, TIFF: exact values of our own fixtures, damage at every byte, hostile headers, real instrument files.
#include "epitaxy/data/image.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include "files.h"

namespace epitaxy::test {

constexpr std::int64_t kHeight = 12, kWidth = 20;

bool readable(const std::string& name) {
  const std::string ending = std::filesystem::path(name).extension().string();
  return ending == ".bmp" || (ending == ".png" && EPITAXY_HAS_PNG) || (ending == ".jpg" && EPITAXY_HAS_JPEG) ||
         (ending == ".tif" && EPITAXY_HAS_TIFF);
}

struct Fixture {
  const char* file;
  DType dtype;
  int channels;
  double (*value)(int x, int y, int c);
  double tolerance = 0;
};

double gray8(int x, int y, int) { return 5 * x + 7 * y; }
double gray16(int x, int y, int) { return 3000 * y + 97 * x; }
double color(int x, int y, int c) { return c == 0 ? 10 * x : c == 1 ? 15 * y : 200 - 5 * x; }
double palette(int x, int, int c) {
  const int table[4][3] = {{0, 0, 0}, {255, 0, 0}, {0, 255, 0}, {10, 20, 30}};
  return table[x % 4][c];
}
double gray_palette(int x, int, int) {
  const int table[4] = {7, 80, 160, 240};
  return table[x % 4];
}
double one_bit(int x, int, int) { return x % 3 == 0 ? 255 : 0; }

const std::vector<Fixture> kFixtures{
    {"gray.bmp", DType::uint8, 1, gray8},
    {"color.bmp", DType::uint8, 3, color},
    {"palette.bmp", DType::uint8, 3, palette},
    {"bits1.bmp", DType::uint8, 1, one_bit},
    {"interlaced.png", DType::uint8, 1, gray8},
    {"gray16.png", DType::uint16, 1, gray16},
    {"palette.png", DType::uint8, 3, palette},
    {"gray_palette.png", DType::uint8, 1, gray_palette},
    {"bits1.png", DType::uint8, 1, one_bit},
    {"opaque.png", DType::uint8, 3, color},
    {"gray.jpg", DType::uint8, 1, gray8, 4},
    {"color.jpg", DType::uint8, 3, color, 12},
    {"gray16_deflate.tif", DType::uint16, 1, gray16},
    {"gray8_lzw.tif", DType::uint8, 1, gray8},
    {"tiled.tif", DType::uint16, 1, gray16},
    {"pages.tif", DType::uint8, 1, gray8},
    {"palette.tif", DType::uint8, 3, palette},
    {"color_jpeg.tif", DType::uint8, 3, color, 24},
    {"white_is_zero.tif", DType::uint8, 1, gray8},
    {"real.tif", DType::fp32, 1, [](int x, int y, int c) { return gray16(x, y, c) / 8 - 100; }},
    {"whole.tif", DType::fp32, 1, [](int x, int y, int c) { return gray16(x, y, c) - 5000; }},
};

double value_at(const Tensor& pixels, std::int64_t i) {
  switch (pixels.dtype()) {
    case DType::uint8: return pixels.as<std::uint8_t>()[i];
    case DType::uint16: return pixels.as<std::uint16_t>()[i];
    default: return static_cast<double>(pixels.as<float>()[i]);
  }
}

class ImageFixture : public ::testing::TestWithParam<Fixture> {
  void SetUp() override {
    if (!readable(GetParam().file)) GTEST_SKIP() << "skipped: this build does not read " << GetParam().file;
  }
};

TEST_P(ImageFixture, HasTheValuesItWasMadeFrom) {
  const Fixture& want = GetParam();
  const Image image = read_image(fixture(want.file));
  ASSERT_EQ(image.pixels.spec(), (TensorSpec{want.dtype, {kHeight, kWidth, want.channels}}));
  EXPECT_EQ(image.pages, std::string(want.file) == "pages.tif" ? 2 : 1);
  std::int64_t i = 0;
  for (int y = 0; y < kHeight; ++y)
    for (int x = 0; x < kWidth; ++x)
      for (int c = 0; c < want.channels; ++c, ++i)
        ASSERT_LE(std::fabs(value_at(image.pixels, i) - want.value(x, y, c)), want.tolerance)
            << "x " << x << ", y " << y << ", channel " << c;
}

/// Places in a file where damage is tried: all of the first 40 bytes, then about 40 more.
std::vector<std::size_t> places(std::size_t size) {
  std::vector<std::size_t> all;
  for (std::size_t at = 0; at < size; at += at < 40 ? 1 : std::max<std::size_t>(1, size / 40)) all.push_back(at);
  return all;
}

// A file cut anywhere is either refused with one clear line, or (where only trailing information is lost) still gives the same pixels.
TEST_P(ImageFixture, CutAnywhereNeverGivesOtherPixels) {
  const Folder folder;
  const std::string whole = bytes_of(fixture(GetParam().file));
  const Image intact = read_image(fixture(GetParam().file));
  std::size_t refused = 0;
  for (const std::size_t length : places(whole.size())) {
    const auto path = folder.write(GetParam().file, whole.substr(0, length));
    try {
      const Image image = read_image(path);
      ASSERT_EQ(image.pixels.spec(), intact.pixels.spec()) << length << " bytes";
      ASSERT_EQ(std::memcmp(image.pixels.data(), intact.pixels.data(), intact.pixels.bytes()), 0) << length << " bytes";
    } catch (const Error& error) {
      ++refused;
      ASSERT_TRUE(mentions(error.what(), {path}));
      ASSERT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  EXPECT_GE(refused, 40u);
}

// Any single damaged byte ends in an image or an Error; the sanitizers watch the rest.
TEST_P(ImageFixture, DamagedBytesNeverCrash) {
  const Folder folder;
  const std::string whole = bytes_of(fixture(GetParam().file));
  std::size_t refused = 0;
  for (const std::size_t at : places(whole.size())) {
    std::string bytes = whole;
    const int changes[3] = {0xff, 0x80, 0x01};
    bytes[at] = static_cast<char>(bytes[at] ^ changes[at % 3]);
    const auto path = folder.write(GetParam().file, bytes);
    try {
      read_image(path);
    } catch (const Error& error) {
      ++refused;
      ASSERT_TRUE(mentions(error.what(), {path}));
    }
  }
  EXPECT_GT(refused, 0u);
}

INSTANTIATE_TEST_SUITE_P(Files, ImageFixture, ::testing::ValuesIn(kFixtures), [](const auto& one) {
  std::string name = one.param.file;
  for (char& c : name) c = c == '.' ? '_' : c;
  return name;
});

TEST(Image, RejectsWhatIsNoImage) {
  const Folder folder;
  EXPECT_TRUE(mentions(error_of([&] { read_image(folder.path("absent.png")); }, Fault::usage), {"absent.png", "does not exist"}));
  EXPECT_TRUE(mentions(error_of([&] { read_image(folder.write("empty.png", "")); }, Fault::failure), {"empty.png", "is empty"}));
  EXPECT_TRUE(
      mentions(error_of([&] { read_image(folder.write("text.png", "hello, world")); }, Fault::usage), {"text.png", "not a PNG, JPEG"}));
}

std::string little(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i, value >>= 8) out += static_cast<char>(value & 0xff);
  return out;
}

std::string bmp_bytes(std::int32_t width, std::int32_t height, std::uint32_t bits, std::uint32_t compression, const std::string& pixels) {
  return "BM" + little(0, 8) + little(54, 4) + little(40, 4) + little(static_cast<std::uint32_t>(width), 4) +
         little(static_cast<std::uint32_t>(height), 4) + little(1, 2) + little(bits, 2) + little(compression, 4) + little(0, 20) + pixels;
}

TEST(Bmp, RowsRunUpOrDown) {
  const Folder folder;
  const std::string pixels("\1\2\3\0\4\5\6\0", 8);  // two rows of one pixel (blue, green, red) padded to four bytes
  EXPECT_EQ(values_of<std::uint8_t>(read_bmp(folder.write("up.bmp", bmp_bytes(1, 2, 24, 0, pixels))).pixels),
            (std::vector<std::uint8_t>{6, 5, 4, 3, 2, 1}));
  EXPECT_EQ(values_of<std::uint8_t>(read_bmp(folder.write("down.bmp", bmp_bytes(1, -2, 24, 0, pixels))).pixels),
            (std::vector<std::uint8_t>{3, 2, 1, 6, 5, 4}));
}

TEST(Bmp, HostileHeaders) {
  const Folder folder;
  const std::string pixels(8, 'x');
  for (const auto& [width, height] : std::vector<std::pair<std::int32_t, std::int32_t>>{
           {0, 1}, {1, 0}, {-1, 1}, {0x7fffffff, 0x7fffffff}, {0x7fffffff, 1}, {1, INT32_MIN}, {3, 2}})
    EXPECT_TRUE(
        mentions(error_of([&] { read_bmp(folder.write("h.bmp", bmp_bytes(width, height, 24, 0, pixels))); }, Fault::failure), {"h.bmp"}));
  EXPECT_TRUE(mentions(error_of([&] { read_bmp(folder.write("r.bmp", bmp_bytes(1, 1, 8, 1, pixels))); }, Fault::usage), {"compressed"}));
  EXPECT_TRUE(mentions(error_of([&] { read_bmp(folder.write("b.bmp", bmp_bytes(1, 1, 16, 0, pixels))); }, Fault::usage), {"16 bits"}));
}

#if EPITAXY_HAS_PNG
TEST(Png, WritesWhatItReads) {
  const Folder folder;
  for (const DType dtype : {DType::uint8, DType::uint16})
    for (const std::int64_t channels : {1, 3}) {
      Tensor pixels(cpu_backend(), {dtype, {5, 7, channels}});
      for (std::size_t i = 0; i < pixels.bytes(); ++i)
        static_cast<std::uint8_t*>(pixels.data())[i] = static_cast<std::uint8_t>(i * 37 + 11);
      write_png(folder.path("w.png"), pixels);
      const Image back = read_png(folder.path("w.png"));
      ASSERT_EQ(back.pixels.spec(), pixels.spec());
      EXPECT_EQ(std::memcmp(back.pixels.data(), pixels.data(), pixels.bytes()), 0);
    }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1) << "no temporary file stays";
  const Tensor pixels(cpu_backend(), {DType::uint8, {1, 1, 1}});
  EXPECT_TRUE(mentions(error_of([&] { write_png(folder.path("no/such/folder.png"), pixels); }, Fault::failure), {"no/such/folder.png"}));
}

TEST(Png, TransparencyIsNotDroppedSilently) {
  EXPECT_TRUE(mentions(error_of([] { read_png(fixture("transparent.png")); }, Fault::failure), {"transparent.png", "alpha"}));
}

TEST(Png, HostileSizeIsRefusedBeforeAllocation) {
  // The header chunk of 12 x 20 replaced by one of 2^24 x 2^24 with a right checksum.
  const std::string header("IHDR\x01\0\0\0\x01\0\0\0\x08\0\0\0\0", 17);
  std::uint32_t crc = 0xffffffffu;
  for (const char c : header) {
    crc ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
  }
  crc = ~crc;
  std::string bytes = bytes_of(fixture("interlaced.png"));
  std::string sum;
  for (int shift = 24; shift >= 0; shift -= 8) sum += static_cast<char>(crc >> shift);
  bytes = bytes.substr(0, 12) + header + sum + bytes.substr(33);
  const Folder folder;
  EXPECT_TRUE(mentions(error_of([&] { read_png(folder.write("h.png", bytes)); }, Fault::failure), {"h.png", "more than its"}));
}
#endif

#if EPITAXY_HAS_TIFF
/// A TIFF of one strip with the given fields in place of the usual ones.
std::string tiff_bytes(std::vector<std::pair<std::uint32_t, std::uint32_t>> fields, const std::string& pixels) {
  std::string directory = little(static_cast<std::uint32_t>(fields.size()), 2);
  for (const auto& [tag, value] : fields) directory += little(tag, 2) + little(4, 2) + little(1, 4) + little(value, 4);  // type 4: 32 bit
  return std::string("II*\0", 4) + little(8 + static_cast<std::uint32_t>(pixels.size()), 4) + pixels + directory + little(0, 4);
}

TEST(Tiff, HandMadeStripAndHostileFields) {
  const Folder folder;
  const auto make = [&](std::uint32_t width, std::uint32_t height, std::uint32_t bits, std::uint32_t samples, std::uint32_t photometric) {
    return folder.write(
        "h.tif",
        tiff_bytes(
            {{256, width}, {257, height}, {258, bits}, {259, 1}, {262, photometric}, {273, 8}, {277, samples}, {278, height}, {279, 4}},
            "\1\2\3\4"));
  };
  EXPECT_EQ(values_of<std::uint16_t>(read_tiff(make(2, 1, 16, 1, 1)).pixels), (std::vector<std::uint16_t>{0x201, 0x403}));
  EXPECT_TRUE(mentions(error_of([&] { read_tiff(make(1u << 23, 1u << 23, 16, 1, 1)); }, Fault::failure), {"h.tif", "can hold"}));
  EXPECT_TRUE(mentions(error_of([&] { read_tiff(make(0xffffffff, 1, 8, 1, 1)); }, Fault::failure), {"h.tif"}));
  EXPECT_TRUE(mentions(error_of([&] { read_tiff(make(16, 16, 8, 1, 1)); }, Fault::failure), {"h.tif"}));  // strip shorter than the image
  EXPECT_TRUE(mentions(error_of([&] { read_tiff(make(2, 1, 12, 1, 1)); }, Fault::usage), {"12-bit", "unsupported"}));
  EXPECT_TRUE(mentions(error_of([&] { read_tiff(make(1, 1, 8, 4, 5)); }, Fault::usage), {"photometric 5", "unsupported"}));
}

struct RealTiff {
  const char* file;
  DType dtype;
  Shape shape;
  double low, high, sum;
};

TEST(Tiff, ReadsInstrumentFiles) {
  const std::string folder = real_data("format_samples/tiff/");
  NEEDS_REAL_DATA(folder);
  const std::vector<RealTiff> files{
      {"FEI-Helios-Ebeam-16bits.tif", DType::uint16, {471, 512, 1}, 0, 65280, 189324800},
      {"FEI-Helios-Ebeam-8bits.tif", DType::uint8, {471, 512, 1}, 0, 255, 739550},
      {"test_hamamatsu_streak_SCAN.tif", DType::uint16, {508, 672, 1}, 0, 33, 581793},
      {"test_loading_image_saved_with_DM.tif", DType::fp32, {68, 68, 1}, 2866, 3774, 15422830},
      {"test_loading_image_saved_with_imageJ.tif", DType::fp32, {68, 68, 1}, 2866, 3774, 15422830},
      {"test_loading_image_saved_with_imageJ_stack.tif", DType::fp32, {68, 68, 1}, 2866, 3774, 15422830},
      {"olympus_SIS.tif", DType::uint8, {101, 112, 3}, 0, 255, 4857285},
  };
  for (const auto& want : files) {
    const Image image = read_image(folder + want.file);
    ASSERT_EQ(image.pixels.spec(), (TensorSpec{want.dtype, want.shape})) << want.file;
    double low = 1e300, high = -1e300, sum = 0;
    for (std::int64_t i = 0; i < image.pixels.count(); ++i) {
      const double value = value_at(image.pixels, i);
      low = std::min(low, value), high = std::max(high, value), sum += value;
    }
    EXPECT_EQ(low, want.low) << want.file;
    EXPECT_EQ(high, want.high) << want.file;
    EXPECT_LE(std::fabs(sum - want.sum), image.pixels.dim(2) == 3 ? 1e-3 * want.sum : 0) << want.file;  // JPEG decoders differ by rounding
  }
}

TEST(Tiff, OverlayColoursOfAPaletteAreKept) {
  const std::string path = real_data("format_samples/tiff/test_tiff_Zeiss_SEM_512pix.tif");
  NEEDS_REAL_DATA(path);
  const Image image = read_tiff(path);  // a gray palette with 26 colours for annotations; 40 pixels are drawn in green
  ASSERT_EQ(image.pixels.spec(), (TensorSpec{DType::uint8, {384, 512, 3}}));
  std::int64_t green = 0, gray = 0;
  const auto* p = image.pixels.as<std::uint8_t>();
  for (std::int64_t i = 0; i < 384 * 512; ++i, p += 3) {
    green += p[0] == 0 && p[1] == 255 && p[2] == 0;
    gray += p[0] == p[1] && p[0] == p[2];
  }
  EXPECT_EQ(green, 40);
  EXPECT_EQ(gray, 384 * 512 - 40);
}
#endif

}  // namespace epitaxy::test
