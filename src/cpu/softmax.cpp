// Softmax in fp32: 16 short rows side by side, or one long row vectorised along its columns.
#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/parallel.h"
#include "cpu/row_blocks.h"
#include "cpu/vector_math.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

constexpr int kRows = kBlockRows;

/// x [columns][kRows] becomes y.
void block_forward(float* x, std::int64_t columns, bool log) {
  float maximum[kRows], sum[kRows] = {};
  for (int r = 0; r < kRows; ++r) maximum[r] = -std::numeric_limits<float>::infinity();
  for (std::int64_t c = 0; c < columns; ++c)
    for (int r = 0; r < kRows; ++r) maximum[r] = x[c * kRows + r] > maximum[r] ? x[c * kRows + r] : maximum[r];
  for (std::int64_t c = 0; c < columns; ++c)
    for (int r = 0; r < kRows; ++r) {
      const float d = x[c * kRows + r] - maximum[r], e = fast_exp(d);
      sum[r] += e;  // a NaN reaches every element
      x[c * kRows + r] = log ? d : e;
    }
  for (int r = 0; r < kRows; ++r) sum[r] = log ? fast_log1p(sum[r] - 1.0f) : 1.0f / sum[r];
  for (std::int64_t c = 0; c < columns; ++c)
    for (int r = 0; r < kRows; ++r) x[c * kRows + r] = log ? x[c * kRows + r] - sum[r] : x[c * kRows + r] * sum[r];
}

/// dy [columns][kRows] becomes dx.
void block_backward(float* y, float* dy, std::int64_t columns, bool log) {
  float sum[kRows] = {};
  for (std::int64_t c = 0; c < columns; ++c)
    for (int r = 0; r < kRows; ++r) sum[r] += dy[c * kRows + r] * (log ? 1.0f : y[c * kRows + r]);
  for (std::int64_t c = 0; c < columns; ++c)
    for (int r = 0; r < kRows; ++r) {
      const float a = y[c * kRows + r], b = dy[c * kRows + r];
      dy[c * kRows + r] = log ? b - fast_exp(a) * sum[r] : a * (b - sum[r]);
    }
}

template <class T>
void row_forward(const T* x, T* y, std::int64_t columns, bool log) {
  float maximum = -std::numeric_limits<float>::infinity(), sum = 0.0f;
  for (std::int64_t c = 0; c < columns; ++c) maximum = to_float(x[c]) > maximum ? to_float(x[c]) : maximum;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < columns; ++c) sum += fast_exp(to_float(x[c]) - maximum);
  const float factor = log ? std::log(sum) : 1.0f / sum;
#pragma GCC ivdep
  for (std::int64_t c = 0; c < columns; ++c) {
    const float d = to_float(x[c]) - maximum;
    y[c] = round<T>(log ? d - factor : fast_exp(d) * factor);
  }
}

template <class T>
void row_backward(const T* y, const T* dy, T* dx, std::int64_t columns, bool log) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < columns; ++c) sum += to_float(dy[c]) * (log ? 1.0f : to_float(y[c]));
#pragma GCC ivdep
  for (std::int64_t c = 0; c < columns; ++c) {
    const float a = to_float(y[c]), b = to_float(dy[c]);
    dx[c] = round<T>(log ? b - fast_exp(a) * sum : a * (b - sum));
  }
}

/// Calls body(first row, rows) for blocks of at most kRows, in parallel.
template <class Body>
void for_each_block(std::int64_t rows, std::int64_t columns, Body&& body) {
  parallel_for((rows + kRows - 1) / kRows,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t b = begin; b < end; ++b)
                   body(b * kRows, static_cast<int>(std::min<std::int64_t>(kRows, rows - b * kRows)));
               },
               std::max<std::int64_t>(1, (1 << 12) / (kRows * std::max<std::int64_t>(1, columns))));
}

}  // namespace

template <>
void softmax_forward<Host>(const SoftmaxArgs& args, Stream) {
  const std::int64_t columns = args.columns;
  with_float(args.dtype, [&]<class T>() {
    for_each_block(args.rows, columns, [&](std::int64_t first, int rows) {
      const T* x = static_cast<const T*>(args.x) + first * columns;
      T* y = static_cast<T*>(args.y) + first * columns;
      if (columns > kBlockColumns) {
        for (int r = 0; r < rows; ++r) row_forward(x + r * columns, y + r * columns, columns, args.log);
        return;
      }
      float block[kBlockColumns * kRows];
      load_block(x, block, rows, columns);
      block_forward(block, columns, args.log);
      store_block(block, y, rows, columns);
    });
  });
}

template <>
void softmax_backward<Host>(const SoftmaxArgs& args, Stream) {
  const std::int64_t columns = args.columns;
  with_float(args.dtype, [&]<class T>() {
    for_each_block(args.rows, columns, [&](std::int64_t first, int rows) {
      const T* y = static_cast<const T*>(args.x) + first * columns;
      const T* dy = static_cast<const T*>(args.dy) + first * columns;
      T* dx = static_cast<T*>(args.y) + first * columns;
      if (columns > kBlockColumns) {
        for (int r = 0; r < rows; ++r) row_backward(y + r * columns, dy + r * columns, dx + r * columns, columns, args.log);
        return;
      }
      float values[kBlockColumns * kRows], gradients[kBlockColumns * kRows];
      load_block(y, values, rows, columns);
      load_block(dy, gradients, rows, columns);
      block_backward(values, gradients, columns, args.log);
      store_block(gradients, dx, rows, columns);
    });
  });
}

}  // namespace epitaxy
