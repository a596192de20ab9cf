// Transposed convolution with kernel = stride, in double.
#include "kernels/conv_transpose2d.h"

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void conv_transpose2d<Reference>(const ConvTranspose2dArgs& a, Stream) {
  with_float(a.dtype, [&]<class T>() {
    const auto factor = [&](T value) { return static_cast<double>(a.tf32 ? round_tf32(to_float(value)) : to_float(value)); };
    T* y = static_cast<T*>(a.y);
    for (std::int64_t pixel = 0; pixel < a.n * a.h * a.w; ++pixel)
      for (std::int64_t r = 0; r < a.r; ++r)
        for (std::int64_t s = 0; s < a.s; ++s)
          for (std::int64_t k = 0; k < a.k; ++k) {
            double sum = a.bias ? a.bias[k] : 0.0;
            for (std::int64_t c = 0; c < a.c; ++c)
              sum += factor(static_cast<const T*>(a.x)[pixel * a.c + c]) *
                     factor(static_cast<const T*>(a.filter)[((c * a.r + r) * a.s + s) * a.k + k]);
            const std::int64_t line = pixel / a.w, column = pixel % a.w;  // line: n * h + row
            y[(((line * a.r + r) * a.w + column) * a.s + s) * a.k + k] = round<T>(static_cast<float>(sum));
          }
  });
}

}  // namespace epitaxy
