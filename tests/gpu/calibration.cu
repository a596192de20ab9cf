// See calibration.h.
#include "tests/gpu/calibration.h"

#include "kernels/device/ptx_sm90.cuh"

namespace epitaxy::EPITAXY_WORLD {
namespace {

using namespace calibration;

__device__ __forceinline__ void copy_bytes(void* to, const void* from, unsigned bytes) {
  for (unsigned i = threadIdx.x; i < bytes; i += blockDim.x) static_cast<std::uint8_t*>(to)[i] = static_cast<const std::uint8_t*>(from)[i];
}

__global__ void matrices_kernel(MatrixArgs p) {
  if constexpr (kHopper) {
    EPITAXY_SHARED(std::uint16_t, in, [256]);
    EPITAXY_SHARED(std::uint16_t, out, [4][256]);
    const unsigned lane = threadIdx.x;
    for (unsigned i = lane; i < 256; i += 32) in[i] = p.tiles[i];
    for (unsigned i = lane; i < 1024; i += 32) out[i / 256][i % 256] = 0;
    __syncwarp();
    std::uint32_t two[2][2], four[2][4];
    ldmatrix_x2(two[0], &in[lane % 16 * 8]);
    ldmatrix_x2_trans(two[1], &in[lane % 16 * 8]);
    ldmatrix_x4(four[0], &in[lane * 8]);
    ldmatrix_x4_trans(four[1], &in[lane * 8]);
    for (unsigned i = 0; i < 2; ++i)
      for (unsigned j = 0; j < 4; ++j) {
        p.registers[(i * 32 + lane) * 4 + j] = j < 2 ? two[i][j] : 0;
        p.registers[((i + 2) * 32 + lane) * 4 + j] = four[i][j];
      }
    stmatrix_x2(&out[0][lane % 16 * 8], two[0]);
    stmatrix_x2_trans(&out[1][lane % 16 * 8], two[0]);
    stmatrix_x4(&out[2][lane * 8], four[0]);
    stmatrix_x4_trans(&out[3][lane * 8], four[0]);
    __syncwarp();
    for (unsigned i = lane; i < 1024; i += 32) p.stored[i] = out[i / 256][i % 256];
  }
}

template <class T>
__global__ void mma_kernel(MmaArgs p) {
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4;
  float d[4];
  for (unsigned i = 0; i < 4; ++i) d[i] = p.d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  if constexpr (std::is_same_v<T, float>) {
    const auto *x = static_cast<const float*>(p.a), *y = static_cast<const float*>(p.b);
    const std::uint32_t a[4] = {cvt_tf32(x[g * 8 + t]), cvt_tf32(x[(g + 8) * 8 + t]), cvt_tf32(x[g * 8 + t + 4]),
                                cvt_tf32(x[(g + 8) * 8 + t + 4])};
    const std::uint32_t b[2] = {cvt_tf32(y[g * 8 + t]), cvt_tf32(y[g * 8 + t + 4])};
    mma_m16n8k8_tf32(d, a, b);
  } else {
    const auto *x = static_cast<const std::uint32_t*>(p.a), *y = static_cast<const std::uint32_t*>(p.b);  // pairs
    const std::uint32_t a[4] = {x[g * 8 + t], x[(g + 8) * 8 + t], x[g * 8 + t + 4], x[(g + 8) * 8 + t + 4]};
    const std::uint32_t b[2] = {y[g * 8 + t], y[g * 8 + t + 4]};
    mma_m16n8k16<T>(d, a, b);
  }
  for (unsigned i = 0; i < 4; ++i) p.d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

__global__ void copies_kernel(CopyArgs p) {
  EPITAXY_SHARED(std::uint8_t, s, [3 * 512]);
  const unsigned t = threadIdx.x;
  for (unsigned i = t; i < 3 * 512; i += 32) s[i] = 0xee;
  __syncwarp();
  const bool valid = t % 3 != 0;
  cp_async_4(&s[16 * t], p.from + 16 * t, valid);
  cp_async_8(&s[512 + 16 * t], p.from + 512 + 16 * t, valid);
  cp_async_16(&s[1024 + 16 * t], p.from + 1024 + 16 * t, valid);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  copy_bytes(p.to, s, 3 * 512);
}

struct BoxParams {
  DeviceTensorMap map;
  BoxArgs args;
  unsigned bytes;
};

__global__ void box_kernel(const __grid_constant__ BoxParams p) {
  if constexpr (kHopper) {
    EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
    EPITAXY_SHARED(Mbarrier, done, [1]);
    unsigned char* tile = align_shared<1024>(memory);
    const unsigned bytes = p.bytes;
    const auto& at = p.args.at;
    if (p.args.store) {
      copy_bytes(tile, p.args.image, bytes);
      fence_proxy_async();
      __syncthreads();
      if (threadIdx.x == 0) {
        if (p.args.map.rank == 2) tma_store_2d(p.map, tile, at[0], at[1]);
        if (p.args.map.rank == 3) tma_store_3d(p.map, tile, at[0], at[1], at[2]);
        if (p.args.map.rank == 4) tma_store_4d(p.map, tile, at[0], at[1], at[2], at[3]);
        tma_store_commit();
        tma_store_wait<0>();
      }
      return;
    }
    if (threadIdx.x == 0) {
      mbarrier_init(&done[0], 1);
      mbarrier_init_fence();
      mbarrier_arrive_expect_tx(&done[0], bytes);
      if (p.args.map.im2col)
        tma_load_im2col_4d(tile, p.map, &done[0], at[0], at[1], at[2], at[3], p.args.offsets[0], p.args.offsets[1]);
      else if (p.args.map.rank == 2)
        tma_load_2d(tile, p.map, &done[0], at[0], at[1]);
      else if (p.args.map.rank == 3)
        tma_load_3d(tile, p.map, &done[0], at[0], at[1], at[2]);
      else
        tma_load_4d(tile, p.map, &done[0], at[0], at[1], at[2], at[3]);
    }
    __syncthreads();
    mbarrier_wait(&done[0], 0);
    copy_bytes(p.args.image, tile, bytes);
  }
}

template <class T, int N, bool kTransposeA, bool kTransposeB, bool kRegistersA>
__global__ void __launch_bounds__(128, 1) wgmma_kernel(WgmmaArgs p) {
  if constexpr (kHopper) {
    EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
    unsigned char* const tile_a = align_shared<1024>(memory);
    unsigned char* const tile_b = tile_a + (kRegistersA ? 0 : (p.a_bytes + 1023) / 1024 * 1024);
    if (!kRegistersA) copy_bytes(tile_a, p.a, p.a_bytes);
    copy_bytes(tile_b, p.b, p.b_bytes);
    fence_proxy_async();
    __syncthreads();
    const unsigned lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
    float d[N / 2];
#pragma unroll
    for (unsigned i = 0; i < N / 2; ++i) d[i] = p.d[(row + i / 2 % 2 * 8) * N + i / 4 * 8 + column + i % 2];
    std::uint64_t a = wgmma_descriptor(tile_a + p.a_offset, p.a_stride, p.a_leading);
    std::uint64_t b = wgmma_descriptor(tile_b + p.b_offset, p.b_stride, p.b_leading);
    std::uint32_t fragment[4] = {};
    if constexpr (kRegistersA) {
      const auto* words = static_cast<const std::uint32_t*>(p.a);  // 8 a row
      for (unsigned i = 0; i < 4; ++i) fragment[i] = words[(row + i % 2 * 8) * 8 + lane % 4 + i / 2 * 4];
    }
    wgmma_fence();
    for (int i = 0; i < p.products; ++i) {
      const bool accumulate = p.accumulate || i > 0;
      if constexpr (kRegistersA && std::is_same_v<T, float>)
        wgmma_m64k8_tf32<N>(d, fragment, b, accumulate);
      else if constexpr (kRegistersA)
        wgmma_m64k16<T, N, kTransposeB>(d, fragment, b, accumulate);
      else if constexpr (std::is_same_v<T, float>)
        wgmma_m64k8_tf32<N>(d, a, b, accumulate);
      else
        wgmma_m64k16<T, N, kTransposeA, kTransposeB>(d, a, b, accumulate);
      a = wgmma_advance(a, p.a_advance), b = wgmma_advance(b, p.b_advance);
    }
    wgmma_commit();
    wgmma_wait<0>(d);
#pragma unroll
    for (unsigned i = 0; i < N / 2; ++i) p.d[(row + i / 2 % 2 * 8) * N + i / 4 * 8 + column + i % 2] = d[i];
  }
}

template <class T, int N>
void launch_wgmma(const WgmmaArgs& p, Stream stream) {
  const std::size_t bytes = 3 * 1024 + p.a_bytes + p.b_bytes;
  const auto go = [&](auto kernel) { launch(stream, "wgmma", kernel, 1, 128, bytes, p); };
  if (p.registers_a) {
    if constexpr (!std::is_same_v<T, float>)
      if (p.transpose_b) return go(wgmma_kernel<T, N, false, true, true>);
    return go(wgmma_kernel<T, N, false, false, true>);
  }
  if constexpr (!std::is_same_v<T, float>) {
    if (p.transpose_a && p.transpose_b) return go(wgmma_kernel<T, N, true, true, false>);
    if (p.transpose_a) return go(wgmma_kernel<T, N, true, false, false>);
    if (p.transpose_b) return go(wgmma_kernel<T, N, false, true, false>);
  }
  go(wgmma_kernel<T, N, false, false, false>);
}

template <class T>
void launch_wgmma_of(const WgmmaArgs& p, Stream stream) {
  switch (p.n) {
    case 32: return launch_wgmma<T, 32>(p, stream);
    case 64: return launch_wgmma<T, 64>(p, stream);
    case 96: return launch_wgmma<T, 96>(p, stream);
    case 128: return launch_wgmma<T, 128>(p, stream);
    case 192: return launch_wgmma<T, 192>(p, stream);
    default: return launch_wgmma<T, 256>(p, stream);
  }
}

struct PipelineParams {
  DeviceTensorMap x, y, d;
  int steps;
};

__global__ void __launch_bounds__(256, 1) pipeline_kernel(const __grid_constant__ PipelineParams p) {
  if constexpr (kHopper) {
    constexpr int kStages = 2, kBytesX = 64 * 128, kBytesY = 32 * 128;
    EPITAXY_DYNAMIC_SHARED(unsigned char, memory);
    EPITAXY_SHARED(Mbarrier, full, [kStages]);
    EPITAXY_SHARED(Mbarrier, empty, [kStages]);
    unsigned char* const tiles = align_shared<1024>(memory);
    const auto stage_of = [&](int step) { return tiles + step % kStages * (kBytesX + kBytesY); };
    if (threadIdx.x == 0) {
      for (int i = 0; i < kStages; ++i) mbarrier_init(&full[i], 1), mbarrier_init(&empty[i], 1);
      mbarrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x >= 128) {
      setmaxnreg_dec<40>();
      if (threadIdx.x / 32 == 4 && elect_one())
        for (int step = 0; step < p.steps; ++step) {
          mbarrier_wait(&empty[step % kStages], (step / kStages & 1) ^ 1);
          mbarrier_arrive_expect_tx(&full[step % kStages], kBytesX + kBytesY);
          tma_load_2d(stage_of(step), p.x, &full[step % kStages], 64 * step, 0);
          tma_load_2d(stage_of(step) + kBytesX, p.y, &full[step % kStages], 64 * step, 0);
        }
      return;
    }
    setmaxnreg_inc<232>();
    float d[16];
    for (int step = 0; step < p.steps; ++step) {
      mbarrier_wait(&full[step % kStages], step / kStages & 1);
      const std::uint64_t a = wgmma_descriptor(stage_of(step)), b = wgmma_descriptor(stage_of(step) + kBytesX);
      wgmma_fence();
      for (int k = 0; k < 4; ++k) wgmma_m64k16<BFloat16, 32>(d, wgmma_advance(a, 32 * k), wgmma_advance(b, 32 * k), step + k > 0);
      wgmma_commit();
      wgmma_wait<1>(d);  // the step before is done: its buffer is free
      if (step > 0 && threadIdx.x == 0) mbarrier_arrive(&empty[(step - 1) % kStages]);
    }
    wgmma_wait<0>(d);
    // All products are done for the warpgroup once its threads have met; their buffers hold the result.
    named_barrier_sync(1, 128);
    auto* out = reinterpret_cast<float*>(tiles);
    const unsigned lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
    for (unsigned i = 0; i < 16; ++i) out[(row + i / 2 % 2 * 8) * 32 + i / 4 * 8 + column + i % 2] = d[i];
    fence_proxy_async();
    named_barrier_sync(1, 128);
    if (threadIdx.x == 0) {
      tma_store_2d(p.d, out, 0, 0);
      tma_store_commit();
      tma_store_wait<0>();
    }
  }
}

}  // namespace
}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy::calibration {
using EPITAXY_WORLD::World;
using namespace EPITAXY_WORLD;

template <>
void matrices<World>(const MatrixArgs& args, Stream stream) {
  launch(stream, "matrices", matrices_kernel, 1, 32, 0, args);
}
template <>
void mma<World>(const MmaArgs& args, Stream stream) {
  launch(stream, "mma",
         args.dtype == DType::bf16   ? mma_kernel<BFloat16>
         : args.dtype == DType::fp16 ? mma_kernel<Half>
                                     : mma_kernel<float>,
         1, 32, 0, args);
}
template <>
void copies<World>(const CopyArgs& args, Stream stream) {
  launch(stream, "copies", copies_kernel, 1, 32, 0, args);
}
template <>
void box<World>(const BoxArgs& args, Stream stream) {
  launch(stream, "box", box_kernel, 1, 128, 1024 + args.map.bytes(), BoxParams{device_tensor_map(args.map), args, args.map.bytes()});
}
template <>
void wgmma<World>(const WgmmaArgs& args, Stream stream) {
  switch (args.dtype) {
    case DType::bf16: return launch_wgmma_of<BFloat16>(args, stream);
    case DType::fp16: return launch_wgmma_of<Half>(args, stream);
    default: return launch_wgmma_of<float>(args, stream);
  }
}
template <>
void pipeline<World>(const PipelineArgs& args, Stream stream) {
  constexpr auto kSwizzle = TensorMap::Swizzle::swizzle128;
  const std::int64_t depth = 64 * args.steps;
  const PipelineParams p{device_tensor_map(tiled_tensor_map(DType::bf16, args.x, {depth, 64}, {depth}, {64, 64}, kSwizzle)),
                         device_tensor_map(tiled_tensor_map(DType::bf16, args.y, {depth, 32}, {depth}, {64, 32}, kSwizzle)),
                         device_tensor_map(tiled_tensor_map(DType::fp32, args.d, {32, 64}, {32}, {32, 64}, TensorMap::Swizzle::none)),
                         args.steps};
  launch(stream, "pipeline", pipeline_kernel, 1, 256, 1024 + 2 * 96 * 128, p);
}
}  // namespace epitaxy::calibration
