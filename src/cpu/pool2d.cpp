// Pooling over NHWC images: threads take rows, the innermost loops run over channels and are vectorised.
#include "kernels/pool2d.h"

#include "cpu/bits.h"
#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

constexpr std::int64_t kChunk = 64;  // channels whose sums are held at once

/// The part of a window that lies inside [0, size).
struct Span {
  std::int64_t first, last;
};
Span cut(std::int64_t start, int kernel, std::int64_t size) {
  return {std::max<std::int64_t>(0, -start), std::min<std::int64_t>(kernel, size - start)};
}
/// Output windows that cover input position `at`.
Span covering(std::int64_t at, int pad, int kernel, int stride, std::int64_t outputs) {
  const std::int64_t reach = at + pad;
  return {reach < kernel ? 0 : (reach - kernel) / stride + 1, std::min(outputs, reach / stride + 1)};
}

/// All ones where the condition holds; a choice by masks leaves no branch that would keep a loop from being vectorised.
template <class T>
Bits<T> mask(bool condition) {
  return static_cast<Bits<T>>(-static_cast<Key<T>>(condition));
}
template <class T>
Bits<T> pick(Bits<T> chosen, Bits<T> a, Bits<T> b) {
  return static_cast<Bits<T>>((a & chosen) | (b & ~chosen));
}

/// A whole 2x2 window: one pass over the channels. Keys make a later tap win only where it is larger, and a NaN first.
template <class T>
void max_two_by_two(const T* x, std::int64_t pitch, std::int64_t channels, T* __restrict y, std::uint8_t* __restrict index) {
  const T* right = x + channels;
  const T* below = x + pitch;
  const T* last = below + channels;
  for (std::int64_t c = 0; c < channels; ++c) {
    const Bits<T> v0 = bits_of(x[c]), v1 = bits_of(right[c]), v2 = bits_of(below[c]), v3 = bits_of(last[c]);
    const Key<T> k0 = key_of<T>(v0), k1 = key_of<T>(v1), k2 = key_of<T>(v2), k3 = key_of<T>(v3);
    const Bits<T> right_wins = mask<T>(k1 > k0), last_wins = mask<T>(k3 > k2);
    const Bits<T> top = pick<T>(right_wins, v1, v0), bottom = pick<T>(last_wins, v3, v2);
    const Bits<T> lower_wins = mask<T>(key_of<T>(bottom) > key_of<T>(top));
    set_bits(y[c], pick<T>(lower_wins, bottom, top));
    index[c] = static_cast<std::uint8_t>(pick<T>(lower_wins, pick<T>(last_wins, 3, 2), pick<T>(right_wins, 1, 0)));
  }
}

/// Any window, already cut to the image: taps outside, a chunk of channels inside.
template <class T>
void max_window(const T* x, const PoolShape& a, Span rows, Span columns, T* __restrict y, std::uint8_t* __restrict index) {
  Key<T> best[kChunk];
  Bits<T> value[kChunk] = {}, at[kChunk] = {};
  const std::int64_t channels = a.c, pitch = a.w * a.c, columns_of_window = a.s;
  for (std::int64_t base = 0; base < channels; base += kChunk) {
    const std::int64_t width = std::min(kChunk, channels - base);
    std::fill(best, best + width, std::numeric_limits<Key<T>>::min());  // below every key
    for (std::int64_t r = rows.first; r < rows.last; ++r)
      for (std::int64_t s = columns.first; s < columns.last; ++s) {
        const T* from = x + r * pitch + s * channels + base;
        const Bits<T> number = static_cast<Bits<T>>(r * columns_of_window + s);
        for (std::int64_t c = 0; c < width; ++c) {
          const Bits<T> v = bits_of(from[c]);
          const Key<T> key = key_of<T>(v);
          const bool take = key > best[c];
          value[c] = take ? v : value[c];
          at[c] = take ? number : at[c];
          best[c] = take ? key : best[c];
        }
      }
    for (std::int64_t c = 0; c < width; ++c) {
      set_bits(y[base + c], value[c]);
      index[base + c] = static_cast<std::uint8_t>(at[c]);
    }
  }
}

/// dx[c] = dy[c] where the window's maximum was this tap, else 0.
template <class T>
void take_tap(const T* dy, const std::uint8_t* at, std::uint8_t tap, T* __restrict dx, std::int64_t channels) {
  for (std::int64_t c = 0; c < channels; ++c) {
    const Bits<T> d = bits_of(dy[c]);
    set_bits(dx[c], static_cast<Bits<T>>(at[c] == tap ? d : 0));
  }
}

/// Where windows do not overlap, a row of dx takes from one row of windows.
template <class T>
void max_gradient_disjoint(const T* dy, const std::uint8_t* index, T* dx, const PoolShape& a) {
  each_row(a.n * a.h, a.w * a.c, [&](std::int64_t line) {
    const std::int64_t n = line / a.h, h = line % a.h, p = (h + a.pad_top) / a.stride_h, r = (h + a.pad_top) % a.stride_h;
    T* to = dx + line * a.w * a.c;
    if (p >= a.p || r >= a.r) return std::fill(to, to + a.w * a.c, T{});
    const std::int64_t from = (n * a.p + p) * a.q * a.c;
    for (std::int64_t w = 0; w < a.w; ++w, to += a.c) {
      const std::int64_t q = (w + a.pad_left) / a.stride_w, s = (w + a.pad_left) % a.stride_w;
      if (q >= a.q || s >= a.s) {
        std::fill(to, to + a.c, T{});
        continue;
      }
      take_tap(dy + from + q * a.c, index + from + q * a.c, static_cast<std::uint8_t>(r * a.s + s), to, a.c);
    }
  });
}

/// dx[pixel, chunk] = sum over the windows of add(sum, offset of the window in y, window row, window column, chunk width).
template <class T, class Add>
void gather(T* dx, const PoolShape& a, Add&& add) {
  each_row(a.n * a.h, a.w * a.c, [&](std::int64_t line) {
    const std::int64_t n = line / a.h, h = line % a.h;
    const Span rows = covering(h, a.pad_top, a.r, a.stride_h, a.p);
    float sum[kChunk];
    for (std::int64_t w = 0; w < a.w; ++w) {
      const Span columns = covering(w, a.pad_left, a.s, a.stride_w, a.q);
      T* to = dx + (line * a.w + w) * a.c;
      for (std::int64_t base = 0; base < a.c; base += kChunk) {
        const std::int64_t width = std::min(kChunk, a.c - base);
        std::fill(sum, sum + width, 0.0f);
        for (std::int64_t p = rows.first; p < rows.last; ++p)
          for (std::int64_t q = columns.first; q < columns.last; ++q) {
            const std::int64_t tap = (h - a.row_start(p)) * a.s + (w - a.column_start(q));
            add(sum, ((n * a.p + p) * a.q + q) * a.c + base, p, q, tap, width);
          }
        for (std::int64_t c = 0; c < width; ++c) to[base + c] = round<T>(sum[c]);
      }
    }
  });
}

float divisor(const Pool2dArgs& args, std::int64_t p, std::int64_t q) {
  const PoolShape& a = args.shape;
  if (!args.exclude_padding) return static_cast<float>(a.r * a.s);
  const Span rows = cut(a.row_start(p), a.r, a.h), columns = cut(a.column_start(q), a.s, a.w);
  return static_cast<float>((rows.last - rows.first) * (columns.last - columns.first));
}

}  // namespace

template <>
void max_pool2d_forward<Host>(const Pool2dArgs& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    each_row(a.n * a.p, a.q * a.c * a.r * a.s, [&](std::int64_t line) {
      const std::int64_t n = line / a.p, h = a.row_start(line % a.p);
      const Span rows = cut(h, a.r, a.h);
      for (std::int64_t q = 0; q < a.q; ++q) {
        const std::int64_t w = a.column_start(q), out = (line * a.q + q) * a.c;
        const Span columns = cut(w, a.s, a.w);
        const T* x = static_cast<const T*>(args.from) + ((n * a.h + h) * a.w + w) * a.c;  // may point before the image; taps do not
        T* y = static_cast<T*>(args.to) + out;
        const bool whole = rows.first == 0 && columns.first == 0 && rows.last == 2 && columns.last == 2;
        if (whole && a.r == 2 && a.s == 2)
          max_two_by_two(x, a.w * a.c, a.c, y, args.index + out);
        else
          max_window(x, a, rows, columns, y, args.index + out);
      }
    });
  });
}

template <>
void max_pool2d_backward<Host>(const Pool2dArgs& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    const T* dy = static_cast<const T*>(args.from);
    T* dx = static_cast<T*>(args.to);
    if (a.stride_h >= a.r && a.stride_w >= a.s) return max_gradient_disjoint(dy, args.index, dx, a);
    gather(dx, a, [&](float* sum, std::int64_t from, std::int64_t, std::int64_t, std::int64_t tap, std::int64_t width) {
      const T* d = dy + from;
      const std::uint8_t* at = args.index + from;
      const std::uint8_t number = static_cast<std::uint8_t>(tap);
      for (std::int64_t c = 0; c < width; ++c) {
        const float v = to_float(d[c]);
        sum[c] += at[c] == number ? v : 0.0f;
      }
    });
  });
}

template <>
void average_pool2d_forward<Host>(const Pool2dArgs& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    each_row(a.n * a.p, a.q * a.c * a.r * a.s, [&](std::int64_t line) {
      const std::int64_t n = line / a.p, p = line % a.p, h = a.row_start(p);
      const Span rows = cut(h, a.r, a.h);
      float sum[kChunk];
      for (std::int64_t q = 0; q < a.q; ++q) {
        const std::int64_t w = a.column_start(q);
        const Span columns = cut(w, a.s, a.w);
        const float factor = divisor(args, p, q);
        for (std::int64_t base = 0; base < a.c; base += kChunk) {
          const std::int64_t width = std::min(kChunk, a.c - base);
          std::fill(sum, sum + width, 0.0f);
          for (std::int64_t r = rows.first; r < rows.last; ++r)
            for (std::int64_t s = columns.first; s < columns.last; ++s) {
              const T* x = static_cast<const T*>(args.from) + ((n * a.h + h + r) * a.w + w + s) * a.c + base;
              for (std::int64_t c = 0; c < width; ++c) sum[c] += to_float(x[c]);
            }
          T* y = static_cast<T*>(args.to) + (line * a.q + q) * a.c + base;
          for (std::int64_t c = 0; c < width; ++c) y[c] = round<T>(sum[c] / factor);
        }
      }
    });
  });
}

template <>
void average_pool2d_backward<Host>(const Pool2dArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* dy = static_cast<const T*>(args.from);
    gather(static_cast<T*>(args.to), args.shape,
           [&](float* sum, std::int64_t from, std::int64_t p, std::int64_t q, std::int64_t, std::int64_t width) {
             const T* d = dy + from;
             const float factor = divisor(args, p, q);
             for (std::int64_t c = 0; c < width; ++c) sum[c] += to_float(d[c]) / factor;
           });
  });
}

template <>
void global_average_pool_forward<Host>(const GlobalPoolArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    each_row(args.n, args.pixels * args.c, [&](std::int64_t n) {
      float sum[kChunk];
      for (std::int64_t base = 0; base < args.c; base += kChunk) {
        const std::int64_t width = std::min(kChunk, args.c - base);
        std::fill(sum, sum + width, 0.0f);
        for (std::int64_t i = 0; i < args.pixels; ++i) {
          const T* x = static_cast<const T*>(args.from) + (n * args.pixels + i) * args.c + base;
          for (std::int64_t c = 0; c < width; ++c) sum[c] += to_float(x[c]);
        }
        T* y = static_cast<T*>(args.to) + n * args.c + base;
        for (std::int64_t c = 0; c < width; ++c) y[c] = round<T>(sum[c] / static_cast<float>(args.pixels));
      }
    });
  });
}

template <>
void global_average_pool_backward<Host>(const GlobalPoolArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    each_row(args.n, args.pixels * args.c, [&](std::int64_t n) {
      const T* dy = static_cast<const T*>(args.from) + n * args.c;
      T* dx = static_cast<T*>(args.to) + n * args.pixels * args.c;
      for (std::int64_t c = 0; c < args.c; ++c) dx[c] = round<T>(to_float(dy[c]) / static_cast<float>(args.pixels));
      for (std::int64_t i = 1; i < args.pixels; ++i) std::copy(dx, dx + args.c, dx + i * args.c);
    });
  });
}

}  // namespace epitaxy
