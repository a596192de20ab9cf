// ldmatrix, mma.sync and cp.async against plain loops.
#define EPITAXY_EMULATED 1

#include <random>
#include <vector>

#include "emulation.h"
#include "kernels/device/ptx.cuh"

namespace epitaxy::emulated {
namespace {

// Tiles of 8x8 elements, element (tile, row, column) = tile * 64 + row * 8 + column.
template <int kTiles, bool kTransposed>
__global__ void ldmatrix_kernel(std::uint32_t* y) {
  EPITAXY_SHARED(std::uint16_t, tiles, [kTiles * 64]);
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < kTiles * 64; i += 32) tiles[i] = static_cast<std::uint16_t>(i);
  __syncwarp();
  std::uint32_t r[kTiles];
  const void* row = &tiles[lane % (kTiles * 8) * 8];
  if constexpr (kTiles == 4 && kTransposed) ldmatrix_x4_trans(r, row);
  if constexpr (kTiles == 4 && !kTransposed) ldmatrix_x4(r, row);
  if constexpr (kTiles == 2 && kTransposed) ldmatrix_x2_trans(r, lane < 16 ? row : nullptr);  // those of lanes 16-31 are not read
  if constexpr (kTiles == 2 && !kTransposed) ldmatrix_x2(r, lane < 16 ? row : nullptr);
  for (int i = 0; i < kTiles; ++i) y[lane * kTiles + i] = r[i];
}

template <int kTiles, bool kTransposed>
void check_ldmatrix() {
  std::vector<std::uint32_t> y(32 * kTiles);
  launch(stream(), "ldmatrix", ldmatrix_kernel<kTiles, kTransposed>, 1, 32, 0, y.data());
  for (int lane = 0; lane < 32; ++lane)
    for (int tile = 0; tile < kTiles; ++tile)
      for (int half = 0; half < 2; ++half) {
        const int row = lane / 4, column = lane % 4 * 2 + half;
        const int expected = tile * 64 + (kTransposed ? column * 8 + row : row * 8 + column);
        ASSERT_EQ(static_cast<int>(y[lane * kTiles + tile] >> 16 * half & 0xffff), expected);
      }
}

TEST(TensorCore, Ldmatrix) {
  in_every_order([] {
    check_ldmatrix<4, false>();
    check_ldmatrix<4, true>();
    check_ldmatrix<2, false>();
    check_ldmatrix<2, true>();
  });
}

// One warp: D[16,8] = C + A[16,16] B[16,8], A row-major and B column-major ([8,16]) in shared memory, as kernels hold them.
template <class T>
__global__ void mma_kernel(float* d, const float* c, const T* a, const T* b) {
  EPITAXY_SHARED(T, sa, [16 * 16]);
  EPITAXY_SHARED(T, sb, [8 * 16]);
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4;
  for (unsigned i = lane; i < 256; i += 32) sa[i] = a[i];
  for (unsigned i = lane; i < 128; i += 32) sb[i] = b[i];
  __syncwarp();
  std::uint32_t ra[4], rb[2];
  ldmatrix_x4(ra, &sa[lane % 16 * 16 + lane / 16 * 8]);
  ldmatrix_x2(rb, &sb[lane % 8 * 16 + lane / 8 % 2 * 8]);
  float rd[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
  mma_m16n8k16<T>(rd, ra, rb);
  d[g * 8 + 2 * t] = rd[0];
  d[g * 8 + 2 * t + 1] = rd[1];
  d[(g + 8) * 8 + 2 * t] = rd[2];
  d[(g + 8) * 8 + 2 * t + 1] = rd[3];
}

__global__ void mma_tf32_kernel(float* d, const float* c, const float* a, const float* b) {
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const std::uint32_t ra[4] = {cvt_tf32(a[g * 8 + t]), cvt_tf32(a[(g + 8) * 8 + t]), cvt_tf32(a[g * 8 + t + 4]),
                               cvt_tf32(a[(g + 8) * 8 + t + 4])};
  const std::uint32_t rb[2] = {cvt_tf32(b[g * 8 + t]), cvt_tf32(b[g * 8 + t + 4])};
  float rd[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
  mma_m16n8k8_tf32(rd, ra, rb);
  d[g * 8 + 2 * t] = rd[0];
  d[g * 8 + 2 * t + 1] = rd[1];
  d[(g + 8) * 8 + 2 * t] = rd[2];
  d[(g + 8) * 8 + 2 * t + 1] = rd[3];
}

template <class T>
float rounded(float x) {
  if constexpr (std::is_same_v<T, float>)
    return round_tf32(x);
  else
    return to_float(round<T>(x));
}

template <class T, int kDepth>
void check_mma(void (*kernel)(float*, const float*, const T*, const T*), bool integers) {
  std::mt19937 random(integers ? 1 : 2);
  std::uniform_real_distribution<float> uniform(-4.0f, 4.0f);
  const auto draw = [&] { return integers ? std::round(uniform(random)) : uniform(random); };
  std::vector<float> a(16 * kDepth), b(8 * kDepth), c(128), d(128);
  for (auto* all : {&a, &b, &c})
    for (float& x : *all) x = draw();
  std::vector<T> ta, tb;
  for (const float x : a) ta.push_back(round<T>(x));
  for (const float x : b) tb.push_back(round<T>(x));
  launch(stream(), "mma", kernel, 1, 32, 0, d.data(), c.data(), ta.data(), tb.data());
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      double exact = c[row * 8 + column], size = std::fabs(exact);
      for (int k = 0; k < kDepth; ++k) {
        const double product =
            static_cast<double>(rounded<T>(a[row * kDepth + k])) * static_cast<double>(rounded<T>(b[column * kDepth + k]));
        exact += product;
        size += std::fabs(product);
      }
      ASSERT_LE(std::fabs(static_cast<double>(d[row * 8 + column]) - exact), integers ? 0.0 : size * 0x1p-20) << row << ',' << column;
    }
}

TEST(TensorCore, Mma) {
  in_every_order([] {
    for (const bool integers : {true, false}) {
      check_mma<BFloat16, 16>(mma_kernel<BFloat16>, integers);
      check_mma<Half, 16>(mma_kernel<Half>, integers);
      check_mma<float, 8>(mma_tf32_kernel, integers);
    }
  });
}

__global__ void misuse_kernel(int which, float* global) {
  EPITAXY_SHARED(std::uint16_t, s, [32 * 8 + 8]);
  for (unsigned i = threadIdx.x; i < sizeof(s) / 2; i += 32) s[i] = 0;
  __syncwarp();
  std::uint32_t r[4];
  if (which == 0) ldmatrix_x4(r, &s[threadIdx.x * 8 + 1]);
  if (which == 1) ldmatrix_x4(r, global);
  if (which == 2 && threadIdx.x < 16) ldmatrix_x4(r, s);
  if (which == 3) cp_async_16(&s[4], global, true);
  if (which == 4) cp_async_16(s, global + 1, true);
  if (which == 5) cp_async_16(global, global, true);
}

TEST(TensorCore, MisuseIsNamed) {
  auto* global = static_cast<float*>(emulated_backend().allocate(4096));
  const char* const words[] = {"the row address of ldmatrix.x4 is not aligned to 16 bytes",
                               "the row address of ldmatrix.x4 is not in shared memory",
                               "deadlock",
                               "cp.async of 16 bytes at a misaligned shared address",
                               "cp.async of 16 bytes at a misaligned global address",
                               "the destination of cp.async is not in shared memory"};
  for (int which = 0; which < 6; ++which)
    expect_contains(error_of([&] { launch(stream(), "misuse", misuse_kernel, 1, 32, 0, which, global); }), {words[which], "misuse: "});
  expect_contains(error_of([&] { launch(stream(), "misuse", misuse_kernel, 1, 16, 0, 1, global); }), {"its warp has only lanes 0xffff"});
  emulated_backend().free(global);
}

// Elements past `count` are zero, and their addresses are never read.
template <int kBytes>
__global__ void copy_kernel(float* y, const float* x, int count) {
  constexpr int kFloats = kBytes / 4;
  EPITAXY_SHARED(float, s, [32 * kFloats]);
  const int first = static_cast<int>(threadIdx.x) * kFloats;
  cp_async<kBytes>(&s[first], first < count ? x + first : nullptr, first < count);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  for (int i = first; i < first + kFloats; ++i) y[i] = s[i];
}

template <int kBytes>
void check_copy() {
  std::vector<float> y(32 * kBytes / 4);
  auto* x = static_cast<float*>(emulated_backend().allocate(20 * kBytes));
  for (int i = 0; i < 5 * kBytes; ++i) x[i] = static_cast<float>(i + 1);
  launch(stream(), "copy", copy_kernel<kBytes>, 1, 32, 0, y.data(), x, 5 * kBytes);
  for (int i = 0; i < 8 * kBytes; ++i) ASSERT_EQ(y[i], i < 5 * kBytes ? static_cast<float>(i + 1) : 0.0f);
  emulated_backend().free(x);
}

TEST(AsyncCopy, SizesAndZeroFill) {
  in_every_order([] {
    check_copy<4>();
    check_copy<8>();
    check_copy<16>();
  });
}

__global__ void groups_kernel(float* y, const float* x) {
  EPITAXY_SHARED(float, s, [4]);
  for (int i = 0; i < 4; ++i) s[i] = -1.0f;
  for (int i = 0; i < 3; ++i) {
    cp_async_4(&s[i], x + i, true);
    cp_async_commit();
  }
  cp_async_4(&s[3], x + 3, true);  // never committed
  cp_async_wait<3>();
  for (int i = 0; i < 4; ++i) y[i] = s[i];
  cp_async_wait<1>();
  for (int i = 0; i < 4; ++i) y[4 + i] = s[i];
  cp_async_wait<0>();
  for (int i = 0; i < 4; ++i) y[8 + i] = s[i];
}

TEST(AsyncCopy, LazyCopiesLandAtTheWaitThatNeedsThemAndNoSooner) {
  const std::vector<float> x{1, 2, 3, 4};
  std::vector<float> y(12);
  const Setting setting(kForward);
  launch(stream(), "groups", groups_kernel, 1, 1, 0, y.data(), x.data());
  EXPECT_EQ(y, (std::vector<float>{-1, -1, -1, -1, 1, 2, -1, -1, 1, 2, 3, -1}));
  emulator_options().async = AsyncMode::eager;
  launch(stream(), "groups", groups_kernel, 1, 1, 0, y.data(), x.data());
  EXPECT_EQ(y, (std::vector<float>{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4}));
}

}  // namespace
}  // namespace epitaxy::emulated
