// The values of Hopper's instructions and of ldmatrix, mma and cp.async against plain loops, in every order.
#define EPITAXY_EMULATED 1

#include <algorithm>
#include <cstring>
#include <numeric>

#include "emulation.h"
#include "tests/gpu/calibration.cu"
#include "tests/gpu/calibration_cases.h"

namespace epitaxy::emulated {
namespace {

using calibration::BoxCase;

TEST(Hopper, Matrices) {
  in_every_order([] {
    const auto [registers, stored] = calibration::run_matrices<Emulated>(emulated_backend());
    const auto tile = [](int t, int row, int column) { return static_cast<std::uint16_t>(t * 64 + row * 8 + column); };
    for (int variant = 0; variant < 4; ++variant)
      for (int t = 0; t < (variant < 2 ? 2 : 4); ++t) {
        for (int lane = 0; lane < 32; ++lane)
          for (int half = 0; half < 2; ++half) {
            const int row = lane / 4, column = lane % 4 * 2 + half;
            ASSERT_EQ(registers[(variant * 32 + lane) * 4 + t] >> 16 * half & 0xffffu,
                      variant % 2 ? tile(t, column, row) : tile(t, row, column));
          }
        for (int row = 0; row < 8; ++row)  // stmatrix of the fragments that were not transposed
          for (int column = 0; column < 8; ++column)
            ASSERT_EQ(stored[variant * 256 + t * 64 + row * 8 + column], variant % 2 ? tile(t, column, row) : tile(t, row, column));
      }
  });
}

TEST(Hopper, Copies) {
  in_every_order([] {
    const auto [from, to] = calibration::run_copies<Emulated>(emulated_backend());
    for (std::size_t i = 0; i < to.size(); ++i) {
      const std::size_t copied = i < 512 ? 4 : i < 1024 ? 8 : 16, thread = i % 512 / 16;
      ASSERT_EQ(to[i], i % 16 >= copied ? 0xee : thread % 3 == 0 ? 0 : from[i]) << i;
    }
  });
}

/// The byte of a box that element `column` of row `row` begins at, in shared memory.
std::size_t place(const TensorMap& map, std::size_t row, std::size_t byte) {
  const std::size_t width = size_of(map.dtype) * static_cast<std::size_t>(map.im2col ? map.channels : map.box[0]);
  if (map.swizzle == TensorMap::Swizzle::none) return row * width + byte;
  return row * 128 + ((byte / 16 ^ row % 8) * 16) + byte % 16;
}

/// The tensor's byte `byte` of element (c, ...) in the order of the map's dimensions, 0 outside.
std::uint8_t element(const BoxCase& one, const std::vector<std::uint8_t>& tensor, const std::array<std::int64_t, 4>& at, std::size_t byte) {
  const TensorMap& m = one.map;
  std::int64_t offset = 0;
  for (int i = 0; i < m.rank; ++i) {
    if (at[i] < 0 || at[i] >= m.sizes[i]) return 0;
    offset += at[i] * m.strides[i];
  }
  if (!m.tf32) return tensor[static_cast<std::size_t>(offset) + byte];
  float value;
  std::memcpy(&value, &tensor[static_cast<std::size_t>(offset)], 4);
  value = round_tf32(value);
  return reinterpret_cast<const std::uint8_t*>(&value)[byte];
}

TEST(Hopper, TiledLoads) {
  in_every_order([] {
    for (const BoxCase& one : calibration::tiled_cases()) {
      SCOPED_TRACE(one.name);
      const auto [tensor, image] = calibration::run_box<Emulated>(emulated_backend(), one, false);
      const auto& box = one.map.box;
      const std::size_t size = size_of(one.map.dtype);
      std::size_t row = 0;
      for (int z = 0; z < (one.map.rank > 3 ? box[3] : 1); ++z)
        for (int y = 0; y < (one.map.rank > 2 ? box[2] : 1); ++y)
          for (int x = 0; x < box[1]; ++x, ++row)
            for (int c = 0; c < box[0]; ++c)
              for (std::size_t b = 0; b < size; ++b)
                ASSERT_EQ(image[place(one.map, row, c * size + b)],
                          element(one, tensor, {one.at[0] + c, one.at[1] + x, one.at[2] + y, one.at[3] + z}, b));
    }
  });
}

TEST(Hopper, TiledStores) {
  in_every_order([] {
    for (const BoxCase& one : calibration::tiled_cases()) {
      SCOPED_TRACE(one.name);
      const auto [tensor, image] = calibration::run_box<Emulated>(emulated_backend(), one, true);
      auto expected = calibration::tensor_bytes(one.map, tensor.size());  // what was there before
      const auto& box = one.map.box;
      const std::size_t size = size_of(one.map.dtype);
      std::size_t row = 0;
      for (int z = 0; z < (one.map.rank > 3 ? box[3] : 1); ++z)
        for (int y = 0; y < (one.map.rank > 2 ? box[2] : 1); ++y)
          for (int x = 0; x < box[1]; ++x, ++row)
            for (int c = 0; c < box[0]; ++c) {
              const std::array<std::int64_t, 4> at{one.at[0] + c, one.at[1] + x, one.at[2] + y, one.at[3] + z};
              std::int64_t offset = 0;
              bool inside = true;
              for (int i = 0; i < one.map.rank; ++i) inside &= at[i] >= 0 && at[i] < one.map.sizes[i], offset += at[i] * one.map.strides[i];
              for (std::size_t b = 0; inside && b < size; ++b)
                expected[static_cast<std::size_t>(offset) + b] = image[place(one.map, row, c * size + b)];
            }
      EXPECT_EQ(tensor, expected);
    }
  });
}

// Pixel by pixel as a convolution reads: the box's rows are output pixels (n, p, q) in order.
TEST(Hopper, Im2colLoads) {
  in_every_order([] {
    for (const calibration::Im2colCase& one : calibration::im2col_cases()) {
      SCOPED_TRACE(one.box.name);
      const auto [tensor, image] = calibration::run_box<Emulated>(emulated_backend(), one.box, false);
      const TensorMap& map = one.box.map;
      const std::size_t size = size_of(map.dtype);
      const int first = one.first_pixel;
      for (int pixel = 0; pixel < map.pixels; ++pixel) {
        const int index = first + pixel, q = index % one.out_width, p = index / one.out_width % one.out_height,
                  n = index / one.out_width / one.out_height;
        for (int c = 0; c < map.channels; ++c)
          for (std::size_t b = 0; b < size; ++b)
            ASSERT_EQ(image[place(map, pixel, c * size + b)],
                      element(one.box, tensor,
                              {one.box.at[0] + c, q * one.stride - one.padding + static_cast<int>(one.box.offsets[0]),
                               p * one.stride - one.padding + static_cast<int>(one.box.offsets[1]), n},
                              b))
                << "pixel " << pixel << ", channel " << c;
      }
    }
  });
}

TEST(Hopper, MmaSync) {
  in_every_order([] {
    for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32}) {
      const auto [a, b, d] = calibration::run_mma<Emulated>(emulated_backend(), dtype);
      const int depth = dtype == DType::fp32 ? 8 : 16;
      for (int i = 0; i < 16; ++i)
        for (int j = 0; j < 8; ++j) {
          float sum = static_cast<float>(i * 8 + j);
          for (int k = 0; k < depth; ++k) sum += a[i * depth + k] * b[j * depth + k];
          ASSERT_EQ(d[i * 8 + j], sum);
        }
    }
  });
}

TEST(Hopper, Wgmma) {
  const auto check = [](const calibration::WgmmaCase& one) {
    SCOPED_TRACE(one.name());
    const auto [a, b, d] = calibration::run_wgmma<Emulated>(emulated_backend(), one);
    for (int i = 0; i < 64; ++i)
      for (int j = 0; j < one.n; ++j) {
        float sum = one.accumulate ? static_cast<float>(i - j) : 0.0f;
        for (int k = 0; k < one.depth(); ++k) sum += a[i * one.depth() + k] * b[j * one.depth() + k];
        ASSERT_EQ(d[i * one.n + j], sum) << i << ", " << j;
      }
  };
  for (const auto& one : calibration::wgmma_cases()) check(one);
  in_every_order([&] { check(calibration::wgmma_cases()[5]); });
}

TEST(Hopper, Pipeline) {
  in_every_order([] {
    for (const int steps : {1, 2, 5}) {
      const auto [x, y, d] = calibration::run_pipeline<Emulated>(emulated_backend(), steps);
      for (int i = 0; i < 64; ++i)
        for (int j = 0; j < 32; ++j) {
          float sum = 0;
          for (int k = 0; k < 64 * steps; ++k) sum += x[i * 64 * steps + k] * y[j * 64 * steps + k];
          ASSERT_EQ(d[i * 32 + j], sum) << i << ", " << j << " of " << steps << " steps";
        }
    }
  });
}

TEST(Hopper, OtherProfilesAreRefused) {
  for (const DeviceProfile& profile : {kProfile80, kProfile120}) {
    set_emulated_profile(profile);
    const std::string error = error_of([] { calibration::run_pipeline<Emulated>(emulated_backend(), 1); });
    set_emulated_profile(kProfile90);
    expect_contains(error, {"needs sm_90a (Hopper)", "sm_" + std::to_string(profile.compute)});
  }
}

TEST(Hopper, TensorMapLimits) {
  using Swizzle = TensorMap::Swizzle;
  alignas(16) static float memory[64];
  const auto error = [](auto make) { return error_of([&] { static_cast<void>(make()); }); };
  expect_contains(error([] { return tiled_tensor_map(DType::fp32, memory + 1, {8, 8}, {8}, {4, 4}, Swizzle::none); }), {"multiple of 16"});
  expect_contains(error([] { return tiled_tensor_map(DType::fp32, memory, {6, 8}, {6}, {4, 4}, Swizzle::none); }), {"stride", "24 bytes"});
  expect_contains(error([] { return tiled_tensor_map(DType::fp32, memory, {8, 8}, {8}, {4, 257}, Swizzle::none); }), {"1 to 256"});
  expect_contains(error([] { return tiled_tensor_map(DType::fp32, memory, {8, 8}, {8}, {3, 4}, Swizzle::none); }), {"12 bytes"});
  expect_contains(error([] {
                    return tiled_tensor_map(DType::fp32, memory, {64, 8}, {64}, {16, 4}, Swizzle::swizzle128);
                  }),
                  {"exactly 128"});
  Im2col d{.n = 1, .h = 2, .w = 2, .c = 8, .lower_h = -129, .lower_w = 0, .upper_h = 0, .upper_w = 0, .channels = 8, .pixels = 4};
  expect_contains(error([&] { return im2col_tensor_map(DType::fp32, memory, d, Swizzle::none); }), {"corner -129"});
  d.lower_h = 0, d.stride_w = 9;
  expect_contains(error([&] { return im2col_tensor_map(DType::fp32, memory, d, Swizzle::none); }), {"step 9"});
}

}  // namespace
}  // namespace epitaxy::emulated
