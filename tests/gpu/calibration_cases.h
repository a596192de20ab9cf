// The cases of the calibration, and their run in one world: data from the host to the device and back.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "epitaxy/error.h"
#include "tests/gpu/calibration.h"

namespace epitaxy::calibration {

/// Device memory with a copy of host data.
template <class T>
class Buffer {
 public:
  Buffer(DeviceBackend& backend, std::vector<T> values) : backend_(backend), values_(std::move(values)) {
    memory_ = static_cast<T*>(backend.allocate(values_.size() * sizeof(T)));
    backend.copy(memory_, values_.data(), values_.size() * sizeof(T), backend.stream());
    backend.synchronize(backend.stream());
  }
  ~Buffer() { backend_.free(memory_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return memory_; }
  std::vector<T> read() const {
    std::vector<T> values(values_.size());
    backend_.copy(values.data(), memory_, values.size() * sizeof(T), backend_.stream());
    backend_.synchronize(backend_.stream());
    return values;
  }

 private:
  DeviceBackend& backend_;
  std::vector<T> values_;
  T* memory_;
};

/// Bytes that differ from their neighbours in every direction.
inline std::vector<std::uint8_t> bytes_of(std::size_t count, unsigned seed) {
  std::vector<std::uint8_t> bytes(count);
  unsigned state = seed * 2654435761u + 1;
  for (auto& one : bytes) one = static_cast<std::uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
  return bytes;
}

/// Integers in -4..4: sums of a few hundred products are exact in every order.
inline std::vector<float> integers(std::size_t count, unsigned seed) {
  std::vector<float> values(count);
  const auto bytes = bytes_of(count, seed);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(bytes[i] % 9) - 4.0f;
  return values;
}

/// The values in that type, as bytes.
inline std::vector<std::uint8_t> encode(const std::vector<float>& values, DType dtype) {
  std::vector<std::uint8_t> bytes(values.size() * size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::fp32) {
      std::memcpy(&bytes[4 * i], &values[i], 4);
    } else {
      const std::uint16_t bits = dtype == DType::bf16 ? round<BFloat16>(values[i]).bits : round<Half>(values[i]).bits;
      std::memcpy(&bytes[2 * i], &bits, 2);
    }
  }
  return bytes;
}

template <class World>
std::pair<std::vector<std::uint32_t>, std::vector<std::uint16_t>> run_matrices(DeviceBackend& backend) {
  std::vector<std::uint16_t> values(256);
  for (std::size_t i = 0; i < 256; ++i) values[i] = static_cast<std::uint16_t>(i);
  const Buffer<std::uint16_t> tiles(backend, values), stored(backend, std::vector<std::uint16_t>(1024));
  const Buffer<std::uint32_t> registers(backend, std::vector<std::uint32_t>(512));
  matrices<World>({tiles.data(), registers.data(), stored.data()}, backend.stream());
  return {registers.read(), stored.read()};
}

template <class World>
std::pair<std::vector<std::uint8_t>, std::vector<std::uint8_t>> run_copies(DeviceBackend& backend) {
  const Buffer<std::uint8_t> from(backend, bytes_of(3 * 512, 1)), to(backend, std::vector<std::uint8_t>(3 * 512));
  copies<World>({from.data(), to.data()}, backend.stream());
  return {from.read(), to.read()};
}

template <class World>
std::tuple<std::vector<float>, std::vector<float>, std::vector<float>> run_mma(DeviceBackend& backend, DType dtype) {
  const int depth = dtype == DType::fp32 ? 8 : 16;
  const auto x = integers(16 * depth, 1), y = integers(8 * depth, 2);
  std::vector<float> start(128);
  for (std::size_t i = 0; i < 128; ++i) start[i] = static_cast<float>(i);
  const Buffer<std::uint8_t> a(backend, encode(x, dtype)), b(backend, encode(y, dtype));
  const Buffer<float> d(backend, start);
  mma<World>({dtype, a.data(), b.data(), d.data()}, backend.stream());
  return {x, y, d.read()};
}

// ---- TMA ----

struct BoxCase {
  std::string name;
  TensorMap map;  // without an address
  std::array<int, 4> at;
  std::array<unsigned, 2> offsets;
};

inline std::vector<BoxCase> tiled_cases() {
  using Swizzle = TensorMap::Swizzle;
  const auto map = [](auto... arguments) { return tiled_tensor_map(arguments...); };
  const auto tf32 = [&](auto... arguments) {
    TensorMap rounding = map(arguments...);
    rounding.tf32 = true;
    return rounding;
  };
  using Sizes = std::initializer_list<std::int64_t>;
  using Box = std::initializer_list<int>;
  return {
      {"inside", map(DType::bf16, nullptr, Sizes{64, 20}, Sizes{64}, Box{16, 8}, Swizzle::none), {8, 3}, {}},
      {"past both ends", map(DType::bf16, nullptr, Sizes{40, 20}, Sizes{48}, Box{64, 16}, Swizzle::swizzle128), {24, 12}, {}},
      {"negative", map(DType::fp32, nullptr, Sizes{36, 9}, Sizes{36}, Box{32, 9}, Swizzle::swizzle128), {-4, -3}, {}},
      {"rounded to tf32", tf32(DType::fp32, nullptr, Sizes{36, 9}, Sizes{36}, Box{32, 9}, Swizzle::swizzle128), {8, -1}, {}},
      {"outside", map(DType::fp32, nullptr, Sizes{36, 9}, Sizes{36}, Box{32, 4}, Swizzle::swizzle128), {0, 9}, {}},
      {"bytes", map(DType::uint8, nullptr, Sizes{200, 9}, Sizes{208}, Box{128, 10}, Swizzle::swizzle128), {100, -1}, {}},
      {"rank 3", map(DType::fp16, nullptr, Sizes{72, 5, 4}, Sizes{72, 72 * 5}, Box{64, 3, 3}, Swizzle::swizzle128), {16, -1, 2}, {}},
      {"rank 4",
       map(DType::bf16, nullptr, Sizes{64, 7, 6, 3}, Sizes{64, 64 * 7, 64 * 42}, Box{64, 5, 4, 2}, Swizzle::swizzle128),
       {0, -1, 3, 1},
       {}},
      {"rank 4, no swizzle",
       map(DType::fp32, nullptr, Sizes{8, 7, 6, 3}, Sizes{8, 56, 336}, Box{8, 9, 8, 1}, Swizzle::none),
       {4, -1, -1, 2},
       {}},
  };
}

struct Im2colCase {  // square filters, strides and padding; the load begins at output pixel first_pixel
  BoxCase box;
  int out_height, out_width, stride, padding, first_pixel;
};

inline std::vector<Im2colCase> im2col_cases() {
  std::vector<Im2colCase> cases;
  const auto add = [&](const char* name, DType dtype, Im2col d, int filter, int stride, int padding, int dilation, int tap_r, int tap_s,
                       int channel, int first_pixel, TensorMap::Swizzle swizzle) {
    d.lower_h = d.lower_w = -padding;
    d.upper_h = d.upper_w = padding - (filter - 1) * dilation;
    d.stride_h = d.stride_w = stride;
    const auto out = [&](std::int64_t size) { return static_cast<int>((size + 2 * padding - (filter - 1) * dilation - 1) / stride + 1); };
    const int height = out(d.h), width = out(d.w);
    const int q = first_pixel % width, p = first_pixel / width % height, n = first_pixel / width / height;
    cases.push_back({{name,
                      im2col_tensor_map(dtype, nullptr, d, swizzle),
                      {channel, q * stride - padding, p * stride - padding, n},
                      {static_cast<unsigned>(tap_s * dilation), static_cast<unsigned>(tap_r * dilation)}},
                     height,
                     width,
                     stride,
                     padding,
                     first_pixel});
  };
  const auto size = [](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c, int channels, int pixels) {
    return Im2col{
        .n = n, .h = h, .w = w, .c = c, .lower_h = 0, .lower_w = 0, .upper_h = 0, .upper_w = 0, .channels = channels, .pixels = pixels};
  };
  constexpr auto kSwizzle = TensorMap::Swizzle::swizzle128, kNone = TensorMap::Swizzle::none;
  add("1x1", DType::bf16, size(2, 5, 6, 64, 64, 64), 1, 1, 0, 1, 0, 0, 0, 0, kSwizzle);
  add("3x3 padded, first tap", DType::bf16, size(2, 5, 7, 64, 64, 64), 3, 1, 1, 1, 0, 0, 0, 0, kSwizzle);
  add("3x3 padded, middle tap, from the middle of a row", DType::fp16, size(2, 5, 7, 64, 64, 48), 3, 1, 1, 1, 1, 2, 0, 10, kSwizzle);
  add("past the last image", DType::bf16, size(2, 4, 4, 64, 64, 64), 3, 1, 1, 1, 2, 2, 0, 16, kSwizzle);
  add("second channels, fewer than asked", DType::bf16, size(1, 4, 5, 104, 64, 20), 3, 1, 1, 1, 2, 1, 64, 0, kSwizzle);
  add("stride 2", DType::bf16, size(3, 9, 8, 64, 64, 64), 3, 2, 1, 1, 2, 0, 0, 3, kSwizzle);
  add("stride 2, even", DType::fp32, size(2, 8, 8, 32, 32, 40), 3, 2, 1, 1, 1, 1, 0, 5, kSwizzle);
  add("stride 3, 7x7", DType::bf16, size(1, 20, 17, 8, 8, 64), 7, 3, 3, 1, 6, 5, 0, 0, kNone);
  add("dilation 2", DType::bf16, size(2, 8, 9, 64, 64, 64), 3, 1, 2, 2, 2, 2, 0, 20, kSwizzle);
  add("dilation 3, stride 2", DType::fp32, size(2, 11, 12, 16, 16, 32), 3, 2, 3, 3, 2, 1, 0, 7, kNone);
  add("no padding: positive lower corner of the tap", DType::bf16, size(2, 6, 6, 64, 64, 32), 3, 1, 0, 1, 2, 2, 0, 0, kSwizzle);
  add("wide padding", DType::bf16, size(1, 3, 4, 64, 64, 64), 3, 1, 4, 1, 1, 1, 0, 0, kSwizzle);
  return cases;
}

/// What a tensor holds: bytes, or for a map that rounds floats between 0.5 and 2, every fourth of them halfway between two of tf32.
inline std::vector<std::uint8_t> tensor_bytes(const TensorMap& map, std::size_t count) {
  auto bytes = bytes_of(count, 7);
  for (std::size_t i = 0; map.tf32 && i < count; i += 4) {
    bytes[i + 3] = 0x3f;
    if (i % 16 == 0) bytes[i] = 0, bytes[i + 1] = static_cast<std::uint8_t>((bytes[i + 1] & 0xe0) | 0x10);
  }
  return bytes;
}

/// Loads (or stores) the box; the tensor's bytes and those of shared memory.
template <class World>
std::pair<std::vector<std::uint8_t>, std::vector<std::uint8_t>> run_box(DeviceBackend& backend, const BoxCase& one, bool store) {
  const auto last = static_cast<std::size_t>(one.map.rank - 1);
  const Buffer<std::uint8_t> tensor(backend, tensor_bytes(one.map, static_cast<std::size_t>(one.map.strides[last] * one.map.sizes[last])));
  const Buffer<std::uint8_t> image(backend, bytes_of(one.map.bytes(), 8));
  TensorMap map = one.map;
  map.base = tensor.data();
  box<World>({map, store, one.at, one.offsets, image.data()}, backend.stream());
  return {tensor.read(), image.read()};
}

// ---- wgmma ----

struct WgmmaCase {
  DType dtype;
  int n;
  bool transpose_a, transpose_b, registers_a, accumulate;
  int products;
  int shift;  // rows of 128 bytes by which both tiles (K-major) lie further on than their 1024-byte boundary

  int depth_of_one() const { return dtype == DType::fp32 ? 8 : 16; }
  int depth() const { return registers_a ? depth_of_one() : products * depth_of_one(); }
  std::string name() const {
    return text(epitaxy::name(dtype), " n", n, transpose_a ? " A MN-major" : "", transpose_b ? " B MN-major" : "",
                registers_a ? " A in registers" : "", accumulate ? " accumulating" : "", ", ", products, " products, shift ", shift);
  }
};

inline std::vector<WgmmaCase> wgmma_cases() {
  std::vector<WgmmaCase> cases;
  for (const int n : {32, 64, 96, 128, 192, 256}) {
    for (const DType dtype : {DType::bf16, DType::fp16}) {
      for (const bool transpose_a : {false, true})
        for (const bool transpose_b : {false, true}) cases.push_back({dtype, n, transpose_a, transpose_b, false, transpose_a, 4, 0});
      for (const bool transpose_b : {false, true}) cases.push_back({dtype, n, false, transpose_b, true, true, 1, 0});
    }
    cases.push_back({DType::fp32, n, false, false, false, true, 4, 0});
    cases.push_back({DType::fp32, n, false, false, true, false, 1, 0});
  }
  for (const int shift : {1, 3, 7}) cases.push_back({DType::bf16, 64, false, false, false, false, 4, shift});
  return cases;
}

/// A [rows][depth] matrix as wgmma wants it in shared memory. K-major: 128 bytes of K a row, from row `shift` on. MN-major: rows of K of 64
/// elements, blocks of 64 rows of the matrix one after another.
inline std::vector<std::uint8_t> tile(const std::vector<std::uint8_t>& matrix, int rows, int depth, int size, bool transposed, int shift) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(transposed ? (rows + 63) / 64 * depth * 128 : (rows + shift + 7) / 8 * 1024));
  for (int i = 0; i < rows; ++i)
    for (int k = 0; k < depth; ++k) {
      const int line = transposed ? i / 64 * depth + k : i + shift, byte = transposed ? i % 64 * size : k * size;
      const int at = line * 128 + (byte / 16 ^ line % 8) * 16 + byte % 16;
      std::memcpy(&bytes[static_cast<std::size_t>(at)], &matrix[static_cast<std::size_t>((i * depth + k) * size)],
                  static_cast<std::size_t>(size));
    }
  return bytes;
}

template <class World>
std::tuple<std::vector<float>, std::vector<float>, std::vector<float>> run_wgmma(DeviceBackend& backend, const WgmmaCase& one) {
  const int depth = one.depth(), size = static_cast<int>(size_of(one.dtype));
  const auto x = integers(static_cast<std::size_t>(64 * depth), 3), y = integers(static_cast<std::size_t>(one.n * depth), 4);
  const auto matrix_a = encode(x, one.dtype);
  const Buffer<std::uint8_t> a(backend, one.registers_a ? matrix_a : tile(matrix_a, 64, depth, size, one.transpose_a, one.shift));
  const auto tile_b = tile(encode(y, one.dtype), one.n, depth, size, one.transpose_b, one.shift);
  const Buffer<std::uint8_t> b(backend, tile_b);
  std::vector<float> start(static_cast<std::size_t>(64 * one.n));
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < one.n; ++j) start[static_cast<std::size_t>(i * one.n + j)] = static_cast<float>(i - j);
  const Buffer<float> d(backend, start);
  const auto block = static_cast<unsigned>(depth * 128);  // 64 rows of an MN-major matrix
  const auto offset = static_cast<unsigned>(one.shift * 128);
  wgmma<World>({.dtype = one.dtype,
                .n = one.n,
                .transpose_a = one.transpose_a,
                .transpose_b = one.transpose_b,
                .registers_a = one.registers_a,
                .a = a.data(),
                .b = b.data(),
                .a_bytes = static_cast<unsigned>(a.read().size()),
                .b_bytes = static_cast<unsigned>(tile_b.size()),
                .a_offset = offset,
                .b_offset = offset,
                .a_stride = 1024,
                .b_stride = 1024,
                .a_leading = one.transpose_a ? block : 16,
                .b_leading = one.transpose_b ? block : 16,
                .products = one.products,
                .a_advance = one.transpose_a ? 2048 : 32,
                .b_advance = one.transpose_b ? 2048 : 32,
                .accumulate = one.accumulate,
                .d = d.data()},
               backend.stream());
  return {x, y, d.read()};
}

template <class World>
std::tuple<std::vector<float>, std::vector<float>, std::vector<float>> run_pipeline(DeviceBackend& backend, int steps) {
  const auto x = integers(static_cast<std::size_t>(64 * 64 * steps), 5), y = integers(static_cast<std::size_t>(32 * 64 * steps), 6);
  const Buffer<std::uint8_t> bx(backend, encode(x, DType::bf16)), by(backend, encode(y, DType::bf16));
  const Buffer<float> d(backend, std::vector<float>(64 * 32));
  pipeline<World>({bx.data(), by.data(), d.data(), steps}, backend.stream());
  return {x, y, d.read()};
}

}  // namespace epitaxy::calibration
