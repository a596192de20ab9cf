// Tensor-core operations as plain loops. Fragment layouts are those of the PTX manual (see kernels/device/ptx.cuh).
#include "emulator/tensor_core.h"

#include <cstring>
#include <vector>

#include "emulator/hopper.h"
#include "epitaxy/dtype.h"
#include "epitaxy/error.h"

namespace epitaxy::emulated {

namespace {

struct Rows8 {  // eight floats that the compiler may hold in vector registers
  float v[8];
};

bool is_ldmatrix(Meeting kind) { return kind >= Meeting::ldmatrix_x2 && kind <= Meeting::ldmatrix_x4_trans; }
bool is_stmatrix(Meeting kind) { return kind >= Meeting::stmatrix_x2 && kind <= Meeting::stmatrix_x4_trans; }

void load_tiles(Scheduler& s, int warp, int tiles, bool transposed) {
  std::uint16_t tile[8][8];
  for (int t = 0; t < tiles; ++t) {
    for (int row = 0; row < 8; ++row) std::memcpy(tile[row], s.thread(warp, t * 8 + row).a, 16);
    for (int lane = 0; lane < 32; ++lane) {
      const int i = lane / 4, j = lane % 4 * 2;
      const unsigned low = transposed ? tile[j][i] : tile[i][j], high = transposed ? tile[j + 1][i] : tile[i][j + 1];
      static_cast<std::uint32_t*>(s.thread(warp, lane).out)[t] = low | (high << 16);
    }
  }
}

void store_tiles(Scheduler& s, int warp, int tiles, bool transposed) {
  std::uint16_t tile[8][8];
  for (int t = 0; t < tiles; ++t) {
    for (int lane = 0; lane < 32; ++lane) {
      const std::uint32_t bits = static_cast<const std::uint32_t*>(s.thread(warp, lane).b)[t];
      const int i = lane / 4, j = lane % 4 * 2;
      (transposed ? tile[j][i] : tile[i][j]) = static_cast<std::uint16_t>(bits);
      (transposed ? tile[j + 1][i] : tile[i][j + 1]) = static_cast<std::uint16_t>(bits >> 16);
    }
    for (int row = 0; row < 8; ++row) std::memcpy(const_cast<void*>(s.thread(warp, t * 8 + row).a), tile[row], 16);
  }
}

template <int kDepth>
void multiply(Scheduler& s, int warp, const float (&a)[16][kDepth], const Rows8 (&b)[kDepth]) {
  Rows8 d[16];
  for (int lane = 0; lane < 32; ++lane) {
    const auto* registers = static_cast<const float*>(s.thread(warp, lane).out);
    const int g = lane / 4, t = lane % 4 * 2;
    d[g].v[t] = registers[0], d[g].v[t + 1] = registers[1], d[g + 8].v[t] = registers[2], d[g + 8].v[t + 1] = registers[3];
  }
  for (int row = 0; row < 16; ++row) {
    Rows8 sum = d[row];
    for (int k = 0; k < kDepth; ++k)
      for (int j = 0; j < 8; ++j) sum.v[j] += a[row][k] * b[k].v[j];
    d[row] = sum;
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto* registers = static_cast<float*>(s.thread(warp, lane).out);
    const int g = lane / 4, t = lane % 4 * 2;
    registers[0] = d[g].v[t], registers[1] = d[g].v[t + 1], registers[2] = d[g + 8].v[t], registers[3] = d[g + 8].v[t + 1];
  }
}

template <class Convert>
void multiply_16bit(Scheduler& s, int warp, Convert convert) {
  float a[16][16];
  Rows8 b[16];
  for (int lane = 0; lane < 32; ++lane) {
    const auto* ra = static_cast<const std::uint32_t*>(s.thread(warp, lane).a);
    const auto* rb = static_cast<const std::uint32_t*>(s.thread(warp, lane).b);
    const int g = lane / 4, t = lane % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      const int shift = 16 * half, k = t + half;
      a[g][k] = convert(ra[0] >> shift & 0xffffu);
      a[g + 8][k] = convert(ra[1] >> shift & 0xffffu);
      a[g][k + 8] = convert(ra[2] >> shift & 0xffffu);
      a[g + 8][k + 8] = convert(ra[3] >> shift & 0xffffu);
      b[k].v[g] = convert(rb[0] >> shift & 0xffffu);
      b[k + 8].v[g] = convert(rb[1] >> shift & 0xffffu);
    }
  }
  multiply<16>(s, warp, a, b);
}

void multiply_tf32(Scheduler& s, int warp) {
  float a[16][8];
  Rows8 b[8];
  const auto convert = [](std::uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000u); };
  for (int lane = 0; lane < 32; ++lane) {
    const auto* ra = static_cast<const std::uint32_t*>(s.thread(warp, lane).a);
    const auto* rb = static_cast<const std::uint32_t*>(s.thread(warp, lane).b);
    const int g = lane / 4, t = lane % 4;
    a[g][t] = convert(ra[0]), a[g + 8][t] = convert(ra[1]), a[g][t + 4] = convert(ra[2]), a[g + 8][t + 4] = convert(ra[3]);
    b[t].v[g] = convert(rb[0]), b[t + 4].v[g] = convert(rb[1]);
  }
  multiply<8>(s, warp, a, b);
}

}  // namespace

const float* half_table() {
  static const std::vector<float> table = [] {
    std::vector<float> values(65536);
    for (unsigned i = 0; i < 65536; ++i) values[i] = to_float(Half{static_cast<std::uint16_t>(i)});
    return values;
  }();
  return table.data();
}

void check_matrix_operand(Scheduler& s, Meeting kind, Site site) {
  if (!is_ldmatrix(kind) && !is_stmatrix(kind)) return;
  const Thread& self = s.running();
  const bool x4 = kind == Meeting::ldmatrix_x4 || kind == Meeting::ldmatrix_x4_trans || kind == Meeting::stmatrix_x4 ||
                  kind == Meeting::stmatrix_x4_trans;
  if (!x4 && self.lane >= 16) return;  // their addresses are not read
  if (reinterpret_cast<std::uintptr_t>(self.a) % 16 != 0)
    s.stop(text(describe(self), " at ", describe(site), ": the row address of ", name(kind), " is not aligned to 16 bytes"));
  if (!s.shared().holds(self.a, 16))
    s.stop(text(describe(self), " at ", describe(site), ": the row address of ", name(kind), " is not in shared memory"));
  if (is_stmatrix(kind))
    tsan_write(const_cast<void*>(self.a), 16);
  else
    tsan_read(self.a, 16);
}

void matrix_operation(Scheduler& s, int warp, Meeting kind) {
  switch (kind) {
    case Meeting::ldmatrix_x2: return load_tiles(s, warp, 2, false);
    case Meeting::ldmatrix_x2_trans: return load_tiles(s, warp, 2, true);
    case Meeting::ldmatrix_x4: return load_tiles(s, warp, 4, false);
    case Meeting::ldmatrix_x4_trans: return load_tiles(s, warp, 4, true);
    case Meeting::stmatrix_x2: return store_tiles(s, warp, 2, false);
    case Meeting::stmatrix_x2_trans: return store_tiles(s, warp, 2, true);
    case Meeting::stmatrix_x4: return store_tiles(s, warp, 4, false);
    case Meeting::stmatrix_x4_trans: return store_tiles(s, warp, 4, true);
    case Meeting::mma_bf16: return multiply_16bit(s, warp, [](std::uint32_t bits) { return std::bit_cast<float>(bits << 16); });
    case Meeting::mma_fp16: return multiply_16bit(s, warp, [table = half_table()](std::uint32_t bits) { return table[bits]; });
    case Meeting::mma_tf32: return multiply_tf32(s, warp);
    default: return warpgroup_operation(s, warp, kind);
  }
}

}  // namespace epitaxy::emulated
