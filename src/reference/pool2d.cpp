// Pooling in double, every gradient summed into doubles per element in the order of the windows.
#include "kernels/pool2d.h"

#include <cmath>

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

/// Calls work(n, p, q, c, output index).
template <class Work>
void each_output(const PoolShape& a, Work&& work) {
  std::int64_t i = 0;
  for (std::int64_t n = 0; n < a.n; ++n)
    for (std::int64_t p = 0; p < a.p; ++p)
      for (std::int64_t q = 0; q < a.q; ++q)
        for (std::int64_t c = 0; c < a.c; ++c) work(n, p, q, c, i++);
}

/// The offset in x of tap (r, s) of window (p, q), or -1 in the padding.
std::int64_t tap(const PoolShape& a, std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t c, int r, int s) {
  const std::int64_t h = a.row_start(p) + r, w = a.column_start(q) + s;
  return h < 0 || h >= a.h || w < 0 || w >= a.w ? -1 : ((n * a.h + h) * a.w + w) * a.c + c;
}

double divisor(const Pool2dArgs& args, std::int64_t p, std::int64_t q) {
  const PoolShape& a = args.shape;
  if (!args.exclude_padding) return a.r * a.s;
  int count = 0;
  for (int r = 0; r < a.r; ++r)
    for (int s = 0; s < a.s; ++s) count += tap(a, 0, p, q, 0, r, s) >= 0;
  return count;
}

}  // namespace

template <>
void max_pool2d_forward<Reference>(const Pool2dArgs& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.from);
    T* y = static_cast<T*>(args.to);
    each_output(a, [&](auto n, auto p, auto q, auto c, auto i) {
      std::int64_t best = -1;
      for (int r = 0; r < a.r; ++r)
        for (int s = 0; s < a.s; ++s) {
          const std::int64_t at = tap(a, n, p, q, c, r, s);
          if (at < 0) continue;
          if (best >= 0 && (std::isnan(to_float(x[best])) || !(to_float(x[at]) > to_float(x[best]) || std::isnan(to_float(x[at])))))
            continue;
          best = at;
          args.index[i] = static_cast<std::uint8_t>(r * a.s + s);
        }
      y[i] = x[best];
    });
  });
}

template <>
void max_pool2d_backward<Reference>(const Pool2dArgs& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    const T* dy = static_cast<const T*>(args.from);
    T* dx = static_cast<T*>(args.to);
    std::int64_t i = 0;
    for (std::int64_t n = 0; n < a.n; ++n)
      for (std::int64_t h = 0; h < a.h; ++h)
        for (std::int64_t w = 0; w < a.w; ++w)
          for (std::int64_t c = 0; c < a.c; ++c, ++i) {
            double sum = 0;
            for (std::int64_t p = 0; p < a.p; ++p) {
              const std::int64_t r = h - a.row_start(p);
              if (r < 0 || r >= a.r) continue;
              for (std::int64_t q = 0; q < a.q; ++q) {
                const std::int64_t s = w - a.column_start(q), o = ((n * a.p + p) * a.q + q) * a.c + c;
                if (s >= 0 && s < a.s && args.index[o] == r * a.s + s) sum += to_float(dy[o]);
              }
            }
            dx[i] = round<T>(static_cast<float>(sum));
          }
  });
}

template <>
void average_pool2d_forward<Reference>(const Pool2dArgs& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.from);
    T* y = static_cast<T*>(args.to);
    each_output(a, [&](auto n, auto p, auto q, auto c, auto i) {
      double sum = 0;
      for (int r = 0; r < a.r; ++r)
        for (int s = 0; s < a.s; ++s)
          if (const std::int64_t at = tap(a, n, p, q, c, r, s); at >= 0) sum += to_float(x[at]);
      y[i] = round<T>(static_cast<float>(sum / divisor(args, p, q)));
    });
  });
}

template <>
void average_pool2d_backward<Reference>(const Pool2dArgs& args, Stream) {
  const PoolShape& a = args.shape;
  with_float(args.dtype, [&]<class T>() {
    const T* dy = static_cast<const T*>(args.from);
    T* dx = static_cast<T*>(args.to);
    std::int64_t i = 0;
    for (std::int64_t n = 0; n < a.n; ++n)
      for (std::int64_t h = 0; h < a.h; ++h)
        for (std::int64_t w = 0; w < a.w; ++w)
          for (std::int64_t c = 0; c < a.c; ++c, ++i) {
            double sum = 0;
            for (std::int64_t p = 0; p < a.p; ++p) {
              if (h < a.row_start(p) || h >= a.row_start(p) + a.r) continue;
              for (std::int64_t q = 0; q < a.q; ++q)
                if (w >= a.column_start(q) && w < a.column_start(q) + a.s)
                  sum += to_float(dy[((n * a.p + p) * a.q + q) * a.c + c]) / divisor(args, p, q);
            }
            dx[i] = round<T>(static_cast<float>(sum));
          }
  });
}

template <>
void global_average_pool_forward<Reference>(const GlobalPoolArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.from);
    T* y = static_cast<T*>(args.to);
    for (std::int64_t n = 0; n < args.n; ++n)
      for (std::int64_t c = 0; c < args.c; ++c) {
        double sum = 0;
        for (std::int64_t i = 0; i < args.pixels; ++i) sum += to_float(x[(n * args.pixels + i) * args.c + c]);
        y[n * args.c + c] = round<T>(static_cast<float>(sum / static_cast<double>(args.pixels)));
      }
  });
}

template <>
void global_average_pool_backward<Reference>(const GlobalPoolArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* dy = static_cast<const T*>(args.from);
    T* dx = static_cast<T*>(args.to);
    for (std::int64_t n = 0; n < args.n; ++n)
      for (std::int64_t i = 0; i < args.pixels; ++i)
        for (std::int64_t c = 0; c < args.c; ++c)
          dx[(n * args.pixels + i) * args.c + c] =
              round<T>(static_cast<float>(to_float(dy[n * args.c + c]) / static_cast<double>(args.pixels)));
  });
}

}  // namespace epitaxy
