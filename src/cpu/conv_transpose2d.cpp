// A bias added to every pixel on the CPU.
#include "kernels/conv_transpose2d.h"

#include <algorithm>

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void conv_transpose2d_bias<Host>(const AddBiasArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    parallel_for(
        args.pixels,
        [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t p = first; p < last; ++p) {
            T* y = static_cast<T*>(args.y) + p * args.channels;
#pragma GCC ivdep
            for (std::int64_t c = 0; c < args.channels; ++c) y[c] = round<T>(to_float(y[c]) + args.bias[c]);
          }
        },
        std::max<std::int64_t>(1, (1 << 15) / args.channels));
  });
}

}  // namespace epitaxy
