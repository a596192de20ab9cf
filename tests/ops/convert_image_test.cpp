// Conversion of detector images: hand-computed values, every pixel value, devices against the reference.
#include "epitaxy/ops/convert_image.h"

#include "tests/cases/convert_image.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

TEST(ConvertImage, HandValues) {
  const Tensor mean = values(DType::fp32, {2}, {10, 100}), scale = values(DType::fp32, {2}, {0.5, 2});
  const Tensor x = values(DType::uint8, {1, 1, 2, 2}, {0, 255, 12, 99});
  EXPECT_TRUE(
      same(run_on({}, *convert_image(DType::fp32), {x, mean, scale}, true)[0], values(DType::fp32, {1, 1, 2, 2}, {-5, 310, 1, -2})));
  const Tensor wide = values(DType::uint16, {1, 2}, {65535, 100});
  EXPECT_TRUE(same(run_on({}, *convert_image(DType::fp32), {wide, mean, scale}, true)[0], values(DType::fp32, {1, 2}, {32762.5, 0})));
}

TEST(ConvertImage, Devices) {
  for (const DType from : kPixelTypes)
    for (const DType to : {DType::fp32, DType::bf16, DType::fp16})
      for (const auto& one : kConvertImageCases) {
        SCOPED_TRACE(text(name(from), " to ", name(to), " ", one.shape));
        const std::int64_t channels = one.shape[-1];
        const Tensor mean = make({DType::fp32, {channels}}, Fill::uniform(20, 120), 1),
                     scale = make({DType::fp32, {channels}}, Fill::uniform(0.001, 0.01), 2);
        check_devices(*convert_image(to), {make({from, one.shape}, Fill::uniform(0, from == DType::uint16 ? 65535 : 255), 3), mean, scale});
      }
}

TEST(ConvertImage, EveryPixelValueIsExactWithPowersOfTwo) {
  Tensor bytes(cpu_backend(), {DType::uint8, {256, 1}}), words(cpu_backend(), {DType::uint16, {65536, 1}});
  for (int i = 0; i < 256; ++i) bytes.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
  for (int i = 0; i < 65536; ++i) words.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(i);
  const Tensor mean = values(DType::fp32, {1}, {128}), scale = values(DType::fp32, {1}, {0.0078125});
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    for (const Tensor& x : {bytes, words}) {
      const auto got = numbers(run_on(device, *convert_image(DType::fp32), {x, mean, scale})[0]);
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], (static_cast<double>(i) - 128) / 128) << name(device);
    }
  }
}

TEST(ConvertImage, Rejects) {
  const auto specs = [](TensorSpec x, TensorSpec mean, TensorSpec scale) {
    return convert_image(DType::fp32)->outputs(std::vector<TensorSpec>{x, mean, scale});
  };
  const TensorSpec one{DType::fp32, {1}}, three{DType::fp32, {3}};
  EXPECT_NO_THROW(specs({DType::uint16, {2, 4, 4, 1}}, one, one));
  EXPECT_THROW(specs({DType::uint16, {2, 4, 4, 1}}, three, three), Error);
  EXPECT_THROW(specs({DType::uint8, {2, 4, 4, 3}}, three, one), Error);
  EXPECT_THROW(specs({DType::int32, {2, 1}}, one, one), Error);
  EXPECT_THROW(specs({DType::uint8, {}}, one, one), Error);
  EXPECT_THROW(convert_image(DType::uint8), Error);
}

}  // namespace
}  // namespace epitaxy::test
