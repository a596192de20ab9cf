// How the two factors of a convolution, seen as a matrix product, reach shared memory. A tile lies there as lines of contiguous
// elements: [rows or columns][reduction] where memory is contiguous along the reduction, else [reduction][rows or columns].
#pragma once

#include "kernels/conv2d.h"
#include "kernels/device/ptx.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// A Conv2dProblem in 32 bits, which its launcher has checked to suffice; element offsets are 64-bit.
struct ConvGeometry {
  int height, width, channels;         // x, with the second image's channels
  int first, second;                   // channels of the two images; first is all of them where there is one
  int out_height, out_width, outputs;  // y
  int rows, columns;                   // filter
  int stride_y, stride_x, dilation_y, dilation_x, top, left;
  int group_inputs, group_outputs;
  int wraps_above, wraps_below, wraps_left, wraps_right;  // periods that the padding reaches into; 0 for zero padding
  bool wrap_y, wrap_x;
};

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline int i32(std::int64_t v) { return static_cast<int>(v); }

inline ConvGeometry geometry_of(const Conv2dProblem& d) {
  ConvGeometry g{};
  g.height = i32(d.h), g.width = i32(d.w), g.channels = i32(d.c);
  g.first = i32(d.first()), g.second = i32(d.second);
  g.out_height = i32(d.p), g.out_width = i32(d.q), g.outputs = i32(d.k);
  g.rows = i32(d.r), g.columns = i32(d.s);
  g.stride_y = i32(d.stride[0]), g.stride_x = i32(d.stride[1]);
  g.dilation_y = i32(d.dilation[0]), g.dilation_x = i32(d.dilation[1]);
  g.top = i32(d.padding[0]), g.left = i32(d.padding[2]);
  g.group_inputs = i32(d.group_inputs()), g.group_outputs = i32(d.group_outputs());
  g.wrap_y = d.padding_mode[0] == PaddingMode::periodic, g.wrap_x = d.padding_mode[1] == PaddingMode::periodic;
  if (g.wrap_y) g.wraps_above = i32(divide_up(d.padding[0], d.h)), g.wraps_below = i32(divide_up(d.padding[1], d.h));
  if (g.wrap_x) g.wraps_left = i32(divide_up(d.padding[2], d.w)), g.wraps_right = i32(divide_up(d.padding[3], d.w));
  return g;
}

/// A pixel whose window is read: the first pixel of its image, -1 for none, and the window's origin.
struct ConvRow {
  int image, y, x;
};

/// A filter row (column) and what it adds to the window's origin.
struct ConvTap {
  int offset, filter;
};

__device__ __forceinline__ int wrapped(int at, int size) {
  while (at < 0) at += size;
  while (at >= size) at -= size;
  return at;
}

/// kVec elements to shared memory, zeros where !valid: asynchronous from 4 bytes on.
template <int kVec, class T>
__device__ __forceinline__ void copy_elements(T* shared, const T* global, bool valid) {
  if constexpr (kVec * sizeof(T) >= 4)
    cp_async<static_cast<int>(kVec * sizeof(T))>(shared, global, valid);
  else
    *shared = valid ? *global : T{};
}

/// Which elements of a tile of `lines` x `length` a thread copies: kVec in each of every kStep-th line.
template <class T_, int kThreads, int kLines_, int kLength_, int kPitch_, int kVec_>
struct CopyShape {
  using T = T_;
  static constexpr int kLines = kLines_, kLength = kLength_, kPitch = kPitch_, kVec = kVec_;
  static constexpr int kPerLine = kLength / kVec, kStep = kThreads / kPerLine, kPasses = kLines / kStep;
  static constexpr int kUnroll = kPasses < 8 ? kPasses : 8;
  static_assert(kLength % kVec == 0 && kThreads % kPerLine == 0 && kLines % kStep == 0);
  __device__ __forceinline__ static int line() { return static_cast<int>(threadIdx.x) / kPerLine; }
  __device__ __forceinline__ static int column() { return static_cast<int>(threadIdx.x) % kPerLine * kVec; }
};

/// A plain matrix; the reduction runs along its lines' index (kAcross) or along a line.
template <class Copy, bool kAcross>
struct MatrixLoader {
  using T = typename Copy::T;
  const T *matrix, *element;
  std::int64_t pitch;
  int lines_left, columns_left;
  __device__ MatrixLoader(const T* matrix_, std::int64_t pitch_, int first_line, int line_end, int first_column, int column_end)
      : matrix(matrix_),
        element(matrix_ + (first_line + Copy::line()) * pitch_ + first_column + Copy::column()),
        pitch(pitch_),
        lines_left(line_end - first_line - Copy::line()),
        columns_left(column_end - first_column - Copy::column()) {}
  __device__ __forceinline__ void load(T* tile) {
    T* shared = tile + Copy::line() * Copy::kPitch + Copy::column();
#pragma unroll Copy::kUnroll
    for (int pass = 0; pass < Copy::kPasses; ++pass) {
      const bool valid = pass * Copy::kStep < lines_left && columns_left > 0;
      copy_elements<Copy::kVec>(shared + pass * Copy::kStep * Copy::kPitch, valid ? element + pass * Copy::kStep * pitch : matrix, valid);
    }
    if constexpr (kAcross) {
      lines_left -= Copy::kLines;
      element += Copy::kLines * pitch;
    } else {
      columns_left -= Copy::kLength;
      element += Copy::kLength;
    }
  }
};

/// A position in (vertical tap, horizontal tap, channel), the reduction of the forward pass and of the input gradient.
struct TapCursor {
  int channel, x = 0, y = 0;
  __device__ explicit TapCursor(int first) : channel(first) {}
  __device__ __forceinline__ void settle(int channels, int count_x) {
    while (channel >= channels) {
      channel -= channels;
      if (++x >= count_x) {
        x = 0;
        ++y;
      }
    }
  }
};

/// The windows of the tile's pixels, of x (forward) or of dy (input gradient): lines are pixels, the reduction (tap, channel) runs along.
/// Forward, channels from g.first on come from the second image.
template <class Copy, bool kForward>
struct WindowLoader {
  using T = typename Copy::T;
  static constexpr bool kKeepRows = Copy::kPasses <= 4 && sizeof(T) == 2;  // in registers
  const ConvGeometry& g;                                                   // in constant memory
  const T *image, *image2;                                                 // of the group's first channel
  const ConvRow* rows;
  const ConvTap *taps_y, *taps_x;
  int count_y, count_x;
  TapCursor at{Copy::column()};
  ConvRow kept[kKeepRows ? Copy::kPasses : 1];
  __device__ WindowLoader(const ConvGeometry& geometry, const T* image_, const T* image2_, const ConvRow* rows_, const ConvTap* taps_y_,
                          const ConvTap* taps_x_, int count_y_, int count_x_)
      : g(geometry),
        image(image_),
        image2(image2_),
        rows(rows_ + Copy::line()),
        taps_y(taps_y_),
        taps_x(taps_x_),
        count_y(count_y_),
        count_x(count_x_) {
    at.settle(channels(), count_x);
    if constexpr (kKeepRows)
#pragma unroll
      for (int pass = 0; pass < Copy::kPasses; ++pass) kept[pass] = rows[pass * Copy::kStep];
  }
  __device__ __forceinline__ int height() const { return kForward ? g.height : g.out_height; }
  __device__ __forceinline__ int width() const { return kForward ? g.width : g.out_width; }
  __device__ __forceinline__ int channels() const { return kForward ? g.group_inputs : g.group_outputs; }
  __device__ __forceinline__ void load(T* tile) {
    T* shared = tile + Copy::line() * Copy::kPitch + Copy::column();
    const bool live = at.y < count_y;
    const int offset_y = live ? taps_y[at.y].offset : 0, offset_x = live ? taps_x[at.x].offset : 0;
    const bool other = kForward && image2 && at.channel >= g.first;
    const T* from = other ? image2 + (at.channel - g.first) : image + at.channel;
    const int pitch = other ? g.second : kForward ? g.first : g.outputs;
#pragma unroll Copy::kUnroll
    for (int pass = 0; pass < Copy::kPasses; ++pass) {
      ConvRow row;
      if constexpr (kKeepRows)
        row = kept[pass];
      else
        row = rows[pass * Copy::kStep];
      int y = row.y + offset_y, x = row.x + offset_x;
      if (kForward && g.wrap_y) y = wrapped(y, g.height);
      if (kForward && g.wrap_x) x = wrapped(x, g.width);
      const bool valid = live && row.image >= 0 && static_cast<unsigned>(y) < static_cast<unsigned>(height()) &&
                         static_cast<unsigned>(x) < static_cast<unsigned>(width());
      const std::int64_t element = static_cast<std::int64_t>(row.image + y * width() + x) * pitch;
      copy_elements<Copy::kVec>(shared + pass * Copy::kStep * Copy::kPitch, valid ? from + element : image, valid);
    }
    at.channel += Copy::kLength;
    at.settle(channels(), count_x);
  }
};

/// The filter for the input gradient: lines are (tap, output channel), the reduction; along them lie the group's input channels.
template <class Copy>
struct FilterLoader {
  using T = typename Copy::T;
  const ConvGeometry& g;
  const T* filter;  // of the group's first output
  const ConvTap *taps_y, *taps_x;
  int count_y, count_x, column;
  TapCursor at{Copy::line()};
  __device__ FilterLoader(const ConvGeometry& geometry, const T* filter_, const ConvTap* taps_y_, const ConvTap* taps_x_, int count_y_,
                          int count_x_, int first_column)
      : g(geometry),
        filter(filter_),
        taps_y(taps_y_),
        taps_x(taps_x_),
        count_y(count_y_),
        count_x(count_x_),
        column(first_column + Copy::column()) {
    at.settle(g.group_outputs, count_x);
  }
  __device__ __forceinline__ void load(T* tile) {
    T* shared = tile + Copy::line() * Copy::kPitch + Copy::column();
#pragma unroll Copy::kUnroll
    for (int pass = 0; pass < Copy::kPasses; ++pass) {
      const bool valid = at.y < count_y && column < g.group_inputs;
      const T* element = filter;
      if (valid) {
        const int tap = (at.channel * g.rows + taps_y[at.y].filter) * g.columns + taps_x[at.x].filter;
        element += static_cast<std::int64_t>(tap) * g.group_inputs + column;
      }
      copy_elements<Copy::kVec>(shared + pass * Copy::kStep * Copy::kPitch, element, valid);
      at.channel += Copy::kStep;
      at.settle(g.group_outputs, count_x);
    }
  }
};

/// The windows for the filter gradient: lines are pixels, the reduction; along them lie (filter row, filter column, channel).
template <class Copy>
struct PixelLoader {
  using T = typename Copy::T;
  const ConvGeometry& g;
  const T* image;  // the column's channel
  int pitch;       // between pixels
  int item;        // first pixel of the current pixel's image
  int left, p, q;  // pixels still to read, position of the current one
  int offset_y, offset_x;
  bool inside;  // the column exists
  __device__ PixelLoader(const T* x, const T* x2, const ConvGeometry& geometry, int first_pixel, int end_pixel, int first_column)
      : g(geometry) {
    const int column = first_column + Copy::column();
    inside = column < g.rows * g.columns * g.group_inputs;
    const int channel = column % g.group_inputs;
    const bool other = x2 && channel >= g.first;
    image = other ? x2 + (channel - g.first) : x + channel;
    pitch = other ? g.second : g.first;
    const int tap = column / g.group_inputs;
    offset_y = tap / g.columns * g.dilation_y - g.top;
    offset_x = tap % g.columns * g.dilation_x - g.left;
    const int pixel = first_pixel + Copy::line();
    left = end_pixel - pixel;
    q = pixel % g.out_width;
    p = pixel / g.out_width % g.out_height;
    item = pixel / g.out_width / g.out_height * g.height * g.width;
  }
  __device__ __forceinline__ void load(T* tile) {
    T* shared = tile + Copy::line() * Copy::kPitch + Copy::column();
#pragma unroll Copy::kUnroll
    for (int pass = 0; pass < Copy::kPasses; ++pass) {
      int y = p * g.stride_y + offset_y, x = q * g.stride_x + offset_x;
      if (g.wrap_y) y = wrapped(y, g.height);
      if (g.wrap_x) x = wrapped(x, g.width);
      const bool valid = inside && left > 0 && static_cast<unsigned>(y) < static_cast<unsigned>(g.height) &&
                         static_cast<unsigned>(x) < static_cast<unsigned>(g.width);
      const std::int64_t element = static_cast<std::int64_t>(item + y * g.width + x) * pitch;
      copy_elements<Copy::kVec>(shared + pass * Copy::kStep * Copy::kPitch, valid ? image + element : image, valid);
      left -= Copy::kStep;
      q += Copy::kStep;
      while (q >= g.out_width) {
        q -= g.out_width;
        if (++p == g.out_height) {
          p = 0;
          item += g.height * g.width;
        }
      }
    }
  }
};

}  // namespace epitaxy::EPITAXY_WORLD
