// Normalisation, ReLU and max pooling in one pass. The channels' constants stay in registers while a thread walks down its pixels; the
// backward passes gather dy through the index for every pixel of x, in the order of batch_norm's own passes, and recompute the mask.
#include "kernels/batch_norm_max_pool2d.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/batch_norm.cuh"
#include "kernels/reduce.h"

namespace epitaxy::EPITAXY_WORLD {

namespace {

/// The place of pixel p of images of rows x columns; 32-bit division, for there are fewer than 2^31 pixels.
struct Place {
  int image, row, column;
};
__device__ __forceinline__ Place place_of(std::int64_t p, std::int64_t rows, std::int64_t columns) {
  const unsigned pixel = static_cast<unsigned>(p), width = static_cast<unsigned>(columns), height = static_cast<unsigned>(rows);
  const unsigned line = pixel / width, image = line / height;
  return {static_cast<int>(image), static_cast<int>(line - image * height), static_cast<int>(pixel - line * width)};
}

/// What normalises N channels.
template <int N>
struct Constants {
  float mean[N], scale[N], beta[N];
  __device__ __forceinline__ Constants(const BatchNormMaxPool2dArgs& args, std::int64_t channel) {
    load_floats(mean, args.gamma + channel);
    load_floats(scale, args.inverse_std + channel);
#pragma unroll
    for (int i = 0; i < N; ++i) scale[i] *= mean[i];
    load_floats(mean, args.mean + channel);
    load_floats(beta, args.beta + channel);
  }
  __device__ __forceinline__ float value(float x, int i) const { return batch_norm_value(x, mean[i], scale[i], beta[i]); }
};

/// kR x kS is the window where it is known at compile time, else 0: then its taps are loaded one after another.
template <class T, int N, int kR, int kS>
__global__ void __launch_bounds__(kTileThreads, 2) forward_kernel(BatchNormMaxPool2dArgs args, std::int64_t size, ChannelLayout layout) {
  const PoolShape& a = args.shape;
  const ChannelPlace place = channel_place<N>(layout, a.c);
  if (!place.active) return;
  const Constants<N> constants(args, place.channel);
  const std::int64_t pixels = a.n * a.p * a.q, first = blockIdx.x * size, last = first + size < pixels ? first + size : pixels;
  const T* x = static_cast<const T*>(args.x) + place.channel;
  for (std::int64_t p = first + place.row; p < last; p += layout.rows) {
    const Place at = place_of(p, a.p, a.q);
    const int height = static_cast<int>(a.h), width = static_cast<int>(a.w);
    const int h0 = at.row * a.stride_h - a.pad_top, w0 = at.column * a.stride_w - a.pad_left;
    const T* corner = x + ((at.image * height + h0) * width + w0) * a.c;  // may lie outside the image
    const auto inside = [&](int r, int s) {
      return static_cast<unsigned>(h0 + r) < static_cast<unsigned>(height) && static_cast<unsigned>(w0 + s) < static_cast<unsigned>(width);
    };
    float best[N] = {};
    Vector<std::uint8_t, N> index{};
    bool empty = true;
    const auto take = [&](const Packed<T, N>& values, int tap) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        float v = constants.value(values.get(i), i);
        v = v <= 0.0f ? 0.0f : v;
        if (empty || v > best[i] || (v != v && best[i] == best[i])) {
          best[i] = v;
          index[i] = static_cast<std::uint8_t>(tap);
        }
      }
      empty = false;
    };
    if constexpr (kR > 0) {
      Packed<T, N> values[kR * kS];
#pragma unroll
      for (int tap = 0; tap < kR * kS; ++tap)
        if (inside(tap / kS, tap % kS))
          values[tap].load(corner + (tap / kS * width + tap % kS) * a.c);
        else
          values[tap] = {};
#pragma unroll
      for (int tap = 0; tap < kR * kS; ++tap)
        if (inside(tap / kS, tap % kS)) take(values[tap], tap);
    } else {
      for (int r = 0; r < a.r; ++r)
        for (int s = 0; s < a.s; ++s)
          if (inside(r, s)) {
            Packed<T, N> values;
            values.load(corner + (r * width + s) * a.c);
            take(values, r * a.s + s);
          }
    }
    const std::int64_t to = p * a.c + place.channel;
    store_floats(static_cast<T*>(args.y) + to, best);
    store_vector(args.index + to, index);
  }
}

/// Adds to `sums` the gradients of the windows that chose x's pixel p. kKernel, kStride: where known at compile time, else 0.
template <class T, int N, int kKernel, int kStride>
__device__ __forceinline__ void gather(const BatchNormMaxPool2dArgs& args, std::int64_t p, std::int64_t channel, float (&sums)[N]) {
  const PoolShape& a = args.shape;
  const Place at = place_of(p, a.h, a.w);
  const int width = kKernel ? kKernel : a.s;
  const PoolRange rows = pool_windows(at.row, a.pad_top, kKernel ? kKernel : a.r, kStride ? kStride : a.stride_h, a.p);
  const PoolRange columns = pool_windows(at.column, a.pad_left, width, kStride ? kStride : a.stride_w, a.q);
  const int top = at.row + a.pad_top, left = at.column + a.pad_left;
  const int stride_h = kStride ? kStride : a.stride_h, stride_w = kStride ? kStride : a.stride_w;
  for (int row = rows.first; row < rows.last; ++row)
    for (int column = columns.first; column < columns.last; ++column) {
      const int pixel = (at.image * static_cast<int>(a.p) + row) * static_cast<int>(a.q) + column;
      const std::int64_t from = pixel * a.c + channel;
      const int tap = (top - row * stride_h) * width + left - column * stride_w;
      float v[N];
      load_floats(v, static_cast<const T*>(args.dy) + from);
      const auto chosen = load_vector<std::uint8_t, N>(args.index + from);
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (chosen[i] == tap) sums[i] += v[i];
    }
}

/// The gathered gradient rounded to T, as a tensor between two operations would be, where the recomputed ReLU was open.
template <class T>
__device__ __forceinline__ float masked(float gradient, float value) {
  return rounds_above_zero<T>(value) ? load_float(store_float<T>(gradient)) : 0.0f;
}

template <class T, int N, int kKernel, int kStride>
__global__ void __launch_bounds__(kTileThreads, 2) reduce_kernel(BatchNormMaxPool2dArgs args, std::int64_t size, ChannelLayout layout) {
  const std::int64_t channels = args.shape.c;
  const ChannelPlace place = channel_place<N>(layout, channels);
  const std::int64_t first = blockIdx.x * size, last = first + size < args.pixels() ? first + size : args.pixels();
  float sums[2][N] = {};  // dgamma, dbeta
  if (place.active) {
    const Constants<N> constants(args, place.channel);
    const T* x = static_cast<const T*>(args.x) + place.channel;
    for (std::int64_t p = first + place.row; p < last; p += layout.rows) {
      Packed<T, N> values;
      values.load(x + p * channels);
      float gradient[N] = {};
      gather<T, N, kKernel, kStride>(args, p, place.channel, gradient);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float value = values.get(i), g = masked<T>(gradient[i], constants.value(value, i));
        sums[0][i] = multiply_add(g, value - constants.mean[i], sums[0][i]);
        sums[1][i] += g;
      }
    }
  }
  add_rows(sums, layout, place);
  store_sums(args.partials, sums, args.inverse_std, place, channels);
}

/// dx = scale * (g - offset - (x - mean) * slope), g the gathered and masked gradient; offset and slope are 0 where not training.
template <class T, int N, int kKernel, int kStride>
__global__ void __launch_bounds__(kTileThreads, 2)
    input_gradient_kernel(BatchNormMaxPool2dArgs args, std::int64_t size, ChannelLayout layout) {
  const std::int64_t channels = args.shape.c;
  const ChannelPlace place = channel_place<N>(layout, channels);
  if (!place.active) return;
  const Constants<N> constants(args, place.channel);
  float offset[N] = {}, slope[N] = {};
  if (args.dgamma) load_shares(offset, slope, args.inverse_std, args.dgamma, args.dbeta, args.pixels(), place.channel);
  const T* x = static_cast<const T*>(args.x) + place.channel;
  T* dx = static_cast<T*>(args.dx) + place.channel;
  const std::int64_t first = blockIdx.x * size, last = first + size < args.pixels() ? first + size : args.pixels();
  for (std::int64_t p = first + place.row; p < last; p += layout.rows) {
    Packed<T, N> values;
    values.load(x + p * channels);
    float gradient[N] = {};
    gather<T, N, kKernel, kStride>(args, p, place.channel, gradient);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float value = values.get(i), g = masked<T>(gradient[i], constants.value(value, i));
      values.set(i, multiply_add(constants.mean[i] - value, slope[i], g - offset[i]) * constants.scale[i]);
    }
    values.store(dx + p * channels);
  }
}

/// Whether the windows are those of a residual network's stem, which have kernels of their own.
bool is_stem(const PoolShape& a) { return a.r == 3 && a.s == 3 && a.stride_h == 2 && a.stride_w == 2; }

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using namespace EPITAXY_WORLD;

template <>
void batch_norm_max_pool2d<EPITAXY_WORLD::World>(const BatchNormMaxPool2dArgs& args, Stream stream) {
  const PoolShape& a = args.shape;
  const bool aligned = all_aligned(args.x, args.y, args.index, args.mean, args.inverse_std, args.gamma, args.beta);
  with_float(args.dtype, [&]<class T>() {
    with_channel_vector<T>(a.c, aligned, [&]<int N>() {
      const ChannelLayout layout = channel_layout(a.c, N);
      const std::int64_t pixels = a.n * a.p * a.q, size = pixels_per_block(pixels, layout, stream);
      launch(stream, "batch_norm_max_pool2d", is_stem(a) ? forward_kernel<T, N, 3, 3> : forward_kernel<T, N, 0, 0>,
             grid_of(pixels, size, layout), dim3(kTileThreads), 0, args, size, layout);
    });
  });
}

template <>
void batch_norm_max_pool2d_reduce<EPITAXY_WORLD::World>(const BatchNormMaxPool2dArgs& args, Stream stream) {
  const PoolShape& a = args.shape;
  const PixelTiles tiles = pixel_tiles(args.pixels());
  const bool aligned = all_aligned(args.x, args.dy, args.index, args.mean, args.inverse_std, args.gamma, args.beta, args.partials);
  with_float(args.dtype, [&]<class T>() {
    with_channel_vector<T>(a.c, aligned, [&]<int N>() {
      const ChannelLayout layout = channel_layout(a.c, N);
      launch(stream, "batch_norm_max_pool2d_reduce", is_stem(a) ? reduce_kernel<T, N, 3, 2> : reduce_kernel<T, N, 0, 0>,
             dim3(static_cast<unsigned>(tiles.tiles), layout.chunks), dim3(kTileThreads), 0, args, tiles.size, layout);
    });
  });
  add_tiles(stream, "batch_norm_max_pool2d_reduce", args.partials, args.dgamma, args.dbeta, tiles.tiles, a.c);
}

template <>
void batch_norm_max_pool2d_input_gradient<EPITAXY_WORLD::World>(const BatchNormMaxPool2dArgs& args, Stream stream) {
  const PoolShape& a = args.shape;
  const bool aligned =
      all_aligned(args.x, args.dy, args.index, args.dx, args.mean, args.inverse_std, args.gamma, args.beta, args.dgamma, args.dbeta);
  with_float(args.dtype, [&]<class T>() {
    with_channel_vector<T>(a.c, aligned, [&]<int N>() {
      const ChannelLayout layout = channel_layout(a.c, N);
      const std::int64_t size = pixels_per_block(args.pixels(), layout, stream);
      launch(stream, "batch_norm_max_pool2d_input_gradient",
             is_stem(a) ? input_gradient_kernel<T, N, 3, 2> : input_gradient_kernel<T, N, 0, 0>, grid_of(args.pixels(), size, layout),
             dim3(kTileThreads), 0, args, size, layout);
    });
  });
}

}  // namespace epitaxy
