// What a TMA copy moves: a box of a tensor, or columns of an implicit convolution matrix (im2col), to or from shared memory. Plain
// numbers; device_tensor_map() (kernels/device/tensor_map.cuh) turns them into what a kernel of its world takes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "epitaxy/dtype.h"
#include "epitaxy/error.h"

namespace epitaxy {

/// Dimensions are counted from the innermost, e.g. {C, W, H, N} of an NHWC tensor. Elements outside the tensor read as zero and are not
/// written. In shared memory the box is dense, innermost dimension first; with swizzle128 the 16-byte chunk at byte a of shared memory
/// lies at a ^ ((a >> 7 & 7) << 4): rows of 128 bytes in groups of 8 rows (1024 bytes). Boxes are aligned to 128 bytes at least.
struct TensorMap {
  enum class Swizzle : std::uint8_t { none, swizzle128 };

  DType dtype = DType::fp32;
  Swizzle swizzle = Swizzle::none;
  bool im2col = false;
  bool tf32 = false;  // fp32 rounded to tf32 as it is loaded
  int rank = 0;
  void* base = nullptr;
  std::array<std::int64_t, 5> sizes{};    // elements
  std::array<std::int64_t, 5> strides{};  // bytes; strides[0] is one element
  std::array<int, 5> box{};               // tiled: elements of the box
  std::array<int, 5> steps{};             // elements from one to the next: 1, or im2col's stride along W and H
  // im2col of rank 4, {C, W, H, N}. A load gives `pixels` pixels of `channels` channels. The first is named by its coordinates; the next is
  // steps[1] to the right, at the end of the row (size + upper, exclusive) at `lower` of the row steps[2] below, and likewise from image to
  // image. Each is read at its place plus the load's offsets (>= 0), the filter tap.
  std::array<int, 2> lower{}, upper{};  // along W and H
  int channels = 0, pixels = 0;

  /// Of one load or store; what mbarrier_arrive_expect_tx is told. Elements outside the tensor count.
  std::uint32_t bytes() const {
    std::size_t count = size_of(dtype);
    if (im2col) return static_cast<std::uint32_t>(count * static_cast<std::size_t>(channels) * static_cast<std::size_t>(pixels));
    for (int i = 0; i < rank; ++i) count *= static_cast<std::size_t>(box[i]);
    return static_cast<std::uint32_t>(count);
  }
};

namespace tensor_map_detail {

inline void check(const TensorMap& map) {
  const auto row_bytes = static_cast<std::int64_t>(size_of(map.dtype)) * (map.im2col ? map.channels : map.box[0]);
  if (map.rank < 2 || map.rank > 5) fail("tensor map: rank ", map.rank, ", allowed are 2 to 5");
  if (reinterpret_cast<std::uintptr_t>(map.base) % 16 != 0) fail("tensor map: the tensor's address is not a multiple of 16");
  for (int i = 0; i < map.rank; ++i) {
    if (map.sizes[i] < 1 || map.sizes[i] > std::int64_t{1} << 32) fail("tensor map: dimension ", i, " has ", map.sizes[i], " elements");
    if (i > 0 && (map.strides[i] % 16 != 0 || map.strides[i] < 0 || map.strides[i] >= std::int64_t{1} << 40))
      fail("tensor map: the stride of dimension ", i, " is ", map.strides[i], " bytes, which must be a multiple of 16");
    if (map.steps[i] < 1 || map.steps[i] > 8) fail("tensor map: step ", map.steps[i], " in dimension ", i, ", allowed are 1 to 8");
    if (!map.im2col && (map.box[i] < 1 || map.box[i] > 256)) fail("tensor map: box of ", map.box[i], " elements, allowed are 1 to 256");
  }
  if (row_bytes % 16 != 0) fail("tensor map: the box's innermost dimension has ", row_bytes, " bytes, which must be a multiple of 16");
  if (map.swizzle == TensorMap::Swizzle::swizzle128 && row_bytes != 128)
    fail("tensor map: the box's innermost dimension has ", row_bytes, " bytes, with the 128-byte swizzle exactly 128");
  if (!map.im2col) return;
  for (int i = 0; i < 2; ++i)
    for (const int corner : {map.lower[i], map.upper[i]})
      if (corner < -128 || corner > 127) fail("tensor map: corner ", corner, ", allowed are -128 to 127");
  if (map.channels < 1 || map.channels > 256) fail("tensor map: ", map.channels, " channels a pixel, allowed are 1 to 256");
  if (map.pixels < 1 || map.pixels > 1024) fail("tensor map: ", map.pixels, " pixels a column, allowed are 1 to 1024");
}

}  // namespace tensor_map_detail

/// Boxes of a tensor. `sizes` and `box` in elements, innermost first; `strides` in elements, of the dimensions after the innermost, whose
/// elements are neighbours. Throws where the hardware's limits are passed: addresses and strides in multiples of 16 bytes, ...
inline TensorMap tiled_tensor_map(DType dtype, const void* base, std::initializer_list<std::int64_t> sizes,
                                  std::initializer_list<std::int64_t> strides, std::initializer_list<int> box, TensorMap::Swizzle swizzle) {
  const auto element = static_cast<std::int64_t>(size_of(dtype));
  if (strides.size() + 1 != sizes.size() || box.size() != sizes.size() || sizes.size() > 5)
    fail("tensor map: sizes, strides and box of different ranks");
  TensorMap map{.dtype = dtype, .swizzle = swizzle, .rank = static_cast<int>(sizes.size()), .base = const_cast<void*>(base)};
  map.strides[0] = element;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    map.sizes[i] = sizes.begin()[i];
    map.box[i] = box.begin()[i];
    map.steps[i] = 1;
    if (i > 0) map.strides[i] = strides.begin()[i - 1] * element;
  }
  tensor_map_detail::check(map);
  return map;
}

/// Columns of the implicit matrix of a convolution over x [n, h, w, c], dense. A convolution with padding, R x S filter and dilation has
/// lower = -padding_before and upper = padding_after - (filter - 1) * dilation; pixel (p, q) then has the coordinates
/// (p * stride - padding_before, q * stride - padding_before), and tap (r, s) the offsets (r * dilation, s * dilation).
struct Im2col {
  std::int64_t n, h, w, c;
  int lower_h, lower_w, upper_h, upper_w;
  int stride_h = 1, stride_w = 1;
  int channels = 64, pixels = 128;  // of one load
};

inline TensorMap im2col_tensor_map(DType dtype, const void* base, const Im2col& d, TensorMap::Swizzle swizzle) {
  const auto element = static_cast<std::int64_t>(size_of(dtype));
  TensorMap map{.dtype = dtype, .swizzle = swizzle, .im2col = true, .rank = 4, .base = const_cast<void*>(base)};
  map.sizes = {d.c, d.w, d.h, d.n};
  map.strides = {element, element * d.c, element * d.c * d.w, element * d.c * d.w * d.h};
  map.steps = {1, d.stride_w, d.stride_h, 1};
  map.lower = {d.lower_w, d.lower_h};
  map.upper = {d.upper_w, d.upper_h};
  map.channels = d.channels;
  map.pixels = d.pixels;
  tensor_map_detail::check(map);
  return map;
}

}  // namespace epitaxy
