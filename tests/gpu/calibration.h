// One kernel for each instruction that the emulator models, in both worlds: what a GPU leaves in memory and what the emulator does must be
// the same bits. tests/emulator holds the emulated ones against plain loops.
#pragma once

#include <array>
#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "kernels/tensor_map.h"

namespace epitaxy::calibration {

/// ldmatrix and stmatrix by one warp: tiles [4][8][8] of 16 bits -> registers [variant x2, x2.trans, x4, x4.trans][32][4] -> the tiles
/// that stmatrix makes of them, [4][4][8][8].
struct MatrixArgs {
  const std::uint16_t* tiles;
  std::uint32_t* registers;
  std::uint16_t* stored;
};
template <class World>
void matrices(const MatrixArgs& args, Stream stream);

/// mma.sync by one warp: d[16][8] += a[16][k] * b[8][k]; k = 16, or 8 of fp32 (tf32).
struct MmaArgs {
  DType dtype;
  const void *a, *b;
  float* d;
};
template <class World>
void mma(const MmaArgs& args, Stream stream);

/// cp.async of 4, 8 and 16 bytes by 32 threads each, every third one invalid: from [3][32][16] bytes to the same of shared memory, copied
/// to `to`.
struct CopyArgs {
  const std::uint8_t* from;
  std::uint8_t* to;
};
template <class World>
void copies(const CopyArgs& args, Stream stream);

/// One TMA copy: load the box and show shared memory as it lies, or put `image` into shared memory and store it.
struct BoxArgs {
  TensorMap map;
  bool store;
  std::array<int, 4> at;
  std::array<unsigned, 2> offsets;  // im2col
  std::uint8_t* image;              // map.bytes()
};
template <class World>
void box(const BoxArgs& args, Stream stream);

/// d[64][n] = products of wgmma. Operands are copied to shared memory as they are; each product advances both descriptors.
struct WgmmaArgs {
  DType dtype;  // fp32: tf32
  int n;
  bool transpose_a, transpose_b, registers_a;  // registers_a: `a` is [64][16 or 8], row-major
  const void *a, *b;
  unsigned a_bytes, b_bytes;  // multiples of 16
  unsigned a_offset, b_offset, a_stride, b_stride, a_leading, b_leading;
  int products, a_advance, b_advance;
  bool accumulate;  // onto d
  float* d;
};
template <class World>
void wgmma(const WgmmaArgs& args, Stream stream);

/// The protocol: a producer warp and a consumer warpgroup pass `steps` tiles [64][64] of bf16 through two buffers by mbarriers, TMA and
/// wgmma, with setmaxnreg and elect.sync; the result, x[64][64 steps] times y[32][64 steps] transposed, leaves by named barriers and a TMA
/// store.
struct PipelineArgs {
  const void *x, *y;
  float* d;  // [64][32]
  int steps;
};
template <class World>
void pipeline(const PipelineArgs& args, Stream stream);

}  // namespace epitaxy::calibration
