// Pooling over NHWC images: one thread for up to 16 bytes of neighbouring channels, windows gathered in a fixed order.
#include "kernels/pool2d.h"

#include "epitaxy/dtype_switch.h"
#include "kernels/device/vector.cuh"
#include "kernels/device/world.cuh"

namespace epitaxy::EPITAXY_WORLD {

namespace {

constexpr int kThreads = 256;

/// An item (row, column, first channel) of image n of one launch. 32-bit division; offsets are 64-bit.
struct Item {
  std::int64_t n, row, column, channel;
};

__device__ __forceinline__ Item item_at(unsigned i, unsigned rows, unsigned columns, unsigned groups, int width) {
  const unsigned pixel = i / groups, line = pixel / columns, n = line / rows;
  return {n, line - n * rows, pixel - line * columns, static_cast<std::int64_t>(i - pixel * groups) * width};
}

__device__ __forceinline__ std::int64_t inside(std::int64_t start, int kernel, std::int64_t size) {
  const std::int64_t first = start < 0 ? 0 : start, last = start + kernel < size ? start + kernel : size;
  return last - first;
}

/// kR x kS is the window where it is known at compile time, else 0.
template <class T, int kWidth, int kR, int kS>
__global__ void __launch_bounds__(kThreads) max_pool_kernel(const T* x, T* y, std::uint8_t* index, PoolShape a, unsigned count) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  const Item o = item_at(i, static_cast<unsigned>(a.p), static_cast<unsigned>(a.q), static_cast<unsigned>(a.c / kWidth), kWidth);
  const int r_end = kR ? kR : a.r, s_end = kS ? kS : a.s;
  const std::int64_t h0 = a.row_start(o.row), w0 = a.column_start(o.column);
  float best[kWidth] = {};
  Vector<std::uint8_t, kWidth> at{};
  bool empty = true;
#pragma unroll
  for (int r = 0; r < r_end; ++r) {
    if (h0 + r < 0 || h0 + r >= a.h) continue;
#pragma unroll
    for (int s = 0; s < s_end; ++s) {
      if (w0 + s < 0 || w0 + s >= a.w) continue;
      float v[kWidth];
      load_floats(v, x + ((o.n * a.h + h0 + r) * a.w + w0 + s) * a.c + o.channel);
#pragma unroll
      for (int k = 0; k < kWidth; ++k)
        if (empty || v[k] > best[k] || (v[k] != v[k] && best[k] == best[k])) {
          best[k] = v[k];
          at[k] = static_cast<std::uint8_t>(r * s_end + s);
        }
      empty = false;
    }
  }
  const std::int64_t to = static_cast<std::int64_t>(i) * kWidth;
  store_floats(y + to, best);
  store_vector(index + to, at);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    max_pool_gradient_kernel(const T* dy, const std::uint8_t* index, T* dx, PoolShape a, unsigned count) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  const Item o = item_at(i, static_cast<unsigned>(a.h), static_cast<unsigned>(a.w), static_cast<unsigned>(a.c / kWidth), kWidth);
  const PoolRange rows = pool_windows(o.row, a.pad_top, a.r, a.stride_h, a.p),
                  columns = pool_windows(o.column, a.pad_left, a.s, a.stride_w, a.q);
  float sum[kWidth] = {};
  for (std::int64_t p = rows.first; p < rows.last; ++p)
    for (std::int64_t q = columns.first; q < columns.last; ++q) {
      const std::int64_t from = ((o.n * a.p + p) * a.q + q) * a.c + o.channel;
      const int tap = static_cast<int>((o.row - a.row_start(p)) * a.s + (o.column - a.column_start(q)));
      float v[kWidth];
      load_floats(v, dy + from);
      const auto at = load_vector<std::uint8_t, kWidth>(index + from);
#pragma unroll
      for (int k = 0; k < kWidth; ++k)
        if (at[k] == tap) sum[k] += v[k];
    }
  store_floats(dx + static_cast<std::int64_t>(i) * kWidth, sum);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) average_pool_kernel(const T* x, T* y, PoolShape a, bool exclude_padding, unsigned count) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  const Item o = item_at(i, static_cast<unsigned>(a.p), static_cast<unsigned>(a.q), static_cast<unsigned>(a.c / kWidth), kWidth);
  const std::int64_t h0 = a.row_start(o.row), w0 = a.column_start(o.column);
  float sum[kWidth] = {};
  for (int r = 0; r < a.r; ++r) {
    if (h0 + r < 0 || h0 + r >= a.h) continue;
    for (int s = 0; s < a.s; ++s) {
      if (w0 + s < 0 || w0 + s >= a.w) continue;
      float v[kWidth];
      load_floats(v, x + ((o.n * a.h + h0 + r) * a.w + w0 + s) * a.c + o.channel);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum[k] += v[k];
    }
  }
  const std::int64_t divisor = exclude_padding ? inside(h0, a.r, a.h) * inside(w0, a.s, a.w) : static_cast<std::int64_t>(a.r) * a.s;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) sum[k] /= static_cast<float>(divisor);
  store_floats(y + static_cast<std::int64_t>(i) * kWidth, sum);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    average_pool_gradient_kernel(const T* dy, T* dx, PoolShape a, bool exclude_padding, unsigned count) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  const Item o = item_at(i, static_cast<unsigned>(a.h), static_cast<unsigned>(a.w), static_cast<unsigned>(a.c / kWidth), kWidth);
  const PoolRange rows = pool_windows(o.row, a.pad_top, a.r, a.stride_h, a.p),
                  columns = pool_windows(o.column, a.pad_left, a.s, a.stride_w, a.q);
  float sum[kWidth] = {};
  for (std::int64_t p = rows.first; p < rows.last; ++p)
    for (std::int64_t q = columns.first; q < columns.last; ++q) {
      const std::int64_t divisor =
          exclude_padding ? inside(a.row_start(p), a.r, a.h) * inside(a.column_start(q), a.s, a.w) : static_cast<std::int64_t>(a.r) * a.s;
      float v[kWidth];
      load_floats(v, dy + ((o.n * a.p + p) * a.q + q) * a.c + o.channel);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum[k] += v[k] / static_cast<float>(divisor);
    }
  store_floats(dx + static_cast<std::int64_t>(i) * kWidth, sum);
}

/// One block for image blockIdx.x and `lanes` channel groups from blockIdx.y; the other threads share its pixels, added by a tree.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) global_pool_kernel(const T* x, T* y, std::int64_t pixels, std::int64_t channels, int lanes) {
  EPITAXY_SHARED(float, partial, [kThreads][kWidth]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % lanes, part = thread / lanes, parts = kThreads / lanes;
  const std::int64_t channel = (static_cast<std::int64_t>(blockIdx.y) * lanes + lane) * kWidth;
  float sum[kWidth] = {};
  if (channel < channels)
    for (std::int64_t i = part; i < pixels; i += parts) {
      float v[kWidth];
      load_floats(v, x + (static_cast<std::int64_t>(blockIdx.x) * pixels + i) * channels + channel);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum[k] += v[k];
    }
#pragma unroll
  for (int k = 0; k < kWidth; ++k) partial[thread][k] = sum[k];
  for (int half = parts / 2; half > 0; half /= 2) {
    __syncthreads();
    if (part < half)
#pragma unroll
      for (int k = 0; k < kWidth; ++k) partial[thread][k] += partial[thread + half * lanes][k];
  }
  if (part > 0 || channel >= channels) return;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) sum[k] = partial[thread][k] / static_cast<float>(pixels);
  store_floats(y + static_cast<std::int64_t>(blockIdx.x) * channels + channel, sum);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    global_pool_gradient_kernel(const T* dy, T* dx, std::int64_t pixels, std::int64_t channels, std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t groups = channels / kWidth, channel = i % groups * kWidth, n = i / groups / pixels;
  float v[kWidth];
  load_floats(v, dy + n * channels + channel);
#pragma unroll
  for (int k = 0; k < kWidth; ++k) v[k] /= static_cast<float>(pixels);
  store_floats(dx + i * kWidth, v);
}

/// The widest access that channels and addresses allow: work.template operator()<T, width>().
template <class Work>
void with_width(DType dtype, std::int64_t channels, std::initializer_list<const void*> addresses, Work&& work) {
  with_float(dtype, [&]<class T>() {
    bool wide = channels % kVectorWidth<T> == 0;
    for (const void* address : addresses) wide &= reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
    if (wide) return work.template operator()<T, kVectorWidth<T>>();
    work.template operator()<T, 1>();
  });
}

/// Splits the images into launches of at most `limit` threads: work(first image, shape of the part, threads).
template <class Work>
void each_launch(const Pool2dArgs& args, std::int64_t items_per_image, Work&& work) {
  if (items_per_image == 0) return;
  const std::int64_t images = std::max<std::int64_t>(1, args.items_per_launch / items_per_image);
  for (std::int64_t first = 0; first < args.shape.n; first += images) {
    PoolShape part = args.shape;
    part.n = std::min(images, args.shape.n - first);
    work(first, part, static_cast<unsigned>(part.n * items_per_image));
  }
}

dim3 blocks_for(unsigned threads) { return dim3(threads / kThreads + (threads % kThreads != 0)); }

}  // namespace

}  // namespace epitaxy::EPITAXY_WORLD

namespace epitaxy {
using EPITAXY_WORLD::World;

template <>
void max_pool2d_forward<World>(const Pool2dArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  const PoolShape& a = args.shape;
  with_width(args.dtype, a.c, {args.from, args.to, args.index}, [&]<class T, int kWidth>() {
    each_launch(args, a.p * a.q * a.c / kWidth, [&](std::int64_t first, const PoolShape& part, unsigned threads) {
      const std::int64_t out = first * a.p * a.q * a.c;
      const auto kernel = a.r == 2 && a.s == 2   ? max_pool_kernel<T, kWidth, 2, 2>
                          : a.r == 3 && a.s == 3 ? max_pool_kernel<T, kWidth, 3, 3>
                                                 : max_pool_kernel<T, kWidth, 0, 0>;
      launch(stream, "max_pool2d", kernel, blocks_for(threads), dim3(kThreads), 0,
             static_cast<const T*>(args.from) + first * a.h * a.w * a.c, static_cast<T*>(args.to) + out, args.index + out, part, threads);
    });
  });
}

template <>
void max_pool2d_backward<World>(const Pool2dArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  const PoolShape& a = args.shape;
  with_width(args.dtype, a.c, {args.from, args.to, args.index}, [&]<class T, int kWidth>() {
    each_launch(args, a.h * a.w * a.c / kWidth, [&](std::int64_t first, const PoolShape& part, unsigned threads) {
      const std::int64_t out = first * a.p * a.q * a.c;
      launch(stream, "max_pool2d_gradient", max_pool_gradient_kernel<T, kWidth>, blocks_for(threads), dim3(kThreads), 0,
             static_cast<const T*>(args.from) + out, static_cast<const std::uint8_t*>(args.index) + out,
             static_cast<T*>(args.to) + first * a.h * a.w * a.c, part, threads);
    });
  });
}

template <>
void average_pool2d_forward<World>(const Pool2dArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  const PoolShape& a = args.shape;
  with_width(args.dtype, a.c, {args.from, args.to}, [&]<class T, int kWidth>() {
    each_launch(args, a.p * a.q * a.c / kWidth, [&](std::int64_t first, const PoolShape& part, unsigned threads) {
      launch(stream, "average_pool2d", average_pool_kernel<T, kWidth>, blocks_for(threads), dim3(kThreads), 0,
             static_cast<const T*>(args.from) + first * a.h * a.w * a.c, static_cast<T*>(args.to) + first * a.p * a.q * a.c, part,
             args.exclude_padding, threads);
    });
  });
}

template <>
void average_pool2d_backward<World>(const Pool2dArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  const PoolShape& a = args.shape;
  with_width(args.dtype, a.c, {args.from, args.to}, [&]<class T, int kWidth>() {
    each_launch(args, a.h * a.w * a.c / kWidth, [&](std::int64_t first, const PoolShape& part, unsigned threads) {
      launch(stream, "average_pool2d_gradient", average_pool_gradient_kernel<T, kWidth>, blocks_for(threads), dim3(kThreads), 0,
             static_cast<const T*>(args.from) + first * a.p * a.q * a.c, static_cast<T*>(args.to) + first * a.h * a.w * a.c, part,
             args.exclude_padding, threads);
    });
  });
}

template <>
void global_average_pool_forward<World>(const GlobalPoolArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  with_width(args.dtype, args.c, {args.from, args.to}, [&]<class T, int kWidth>() {
    const std::int64_t groups = args.c / kWidth;
    int lanes = 1;
    while (lanes < 32 && lanes < groups) lanes *= 2;
    launch(stream, "global_average_pool", global_pool_kernel<T, kWidth>,
           dim3(static_cast<unsigned>(args.n), static_cast<unsigned>((groups + lanes - 1) / lanes)), dim3(kThreads), 0,
           static_cast<const T*>(args.from), static_cast<T*>(args.to), args.pixels, args.c, lanes);
  });
}

template <>
void global_average_pool_backward<World>(const GlobalPoolArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  with_width(args.dtype, args.c, {args.from, args.to}, [&]<class T, int kWidth>() {
    const std::int64_t count = args.n * args.pixels * args.c / kWidth;
    launch(stream, "global_average_pool_gradient", global_pool_gradient_kernel<T, kWidth>,
           dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)), dim3(kThreads), 0, static_cast<const T*>(args.from),
           static_cast<T*>(args.to), args.pixels, args.c, count);
  });
}

}  // namespace epitaxy
