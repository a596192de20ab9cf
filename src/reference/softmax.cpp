// Softmax over rows in double.
#include "kernels/softmax.h"

#include <cmath>
#include <limits>

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void softmax_forward<Reference>(const SoftmaxArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    for (std::int64_t r = 0; r < args.rows; ++r) {
      const T* x = static_cast<const T*>(args.x) + r * args.columns;
      T* y = static_cast<T*>(args.y) + r * args.columns;
      double maximum = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::int64_t c = 0; c < args.columns; ++c) maximum = to_float(x[c]) > maximum ? to_float(x[c]) : maximum;
      for (std::int64_t c = 0; c < args.columns; ++c) sum += std::exp(to_float(x[c]) - maximum);  // a NaN reaches every element
      for (std::int64_t c = 0; c < args.columns; ++c) {
        const double shifted = to_float(x[c]) - maximum;
        y[c] = round<T>(static_cast<float>(args.log ? shifted - std::log(sum) : std::exp(shifted) / sum));
      }
    }
  });
}

template <>
void softmax_backward<Reference>(const SoftmaxArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    for (std::int64_t r = 0; r < args.rows; ++r) {
      const T* y = static_cast<const T*>(args.x) + r * args.columns;
      const T* dy = static_cast<const T*>(args.dy) + r * args.columns;
      T* dx = static_cast<T*>(args.y) + r * args.columns;
      double sum = 0;
      for (std::int64_t c = 0; c < args.columns; ++c) sum += to_float(dy[c]) * (args.log ? 1.0 : to_float(y[c]));
      for (std::int64_t c = 0; c < args.columns; ++c) {
        const double a = to_float(y[c]), b = to_float(dy[c]);
        dx[c] = round<T>(static_cast<float>(args.log ? b - std::exp(a) * sum : a * (b - sum)));
      }
    }
  });
}

}  // namespace epitaxy
