// Inverted dropout in double, the mask drawn element by element.
#include "kernels/dropout.h"

#include "epitaxy/dtype_switch.h"
#include "epitaxy/philox.h"

namespace epitaxy {

template <>
void dropout_forward<Reference>(const DropoutArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    T* y = static_cast<T*>(args.y);
    for (std::int64_t i = 0; i < args.count; ++i) {
      const Philox4 four = philox(args.seed, static_cast<std::uint64_t>(i) / 4, args.ordinal, RandomPurpose::dropout,
                                  static_cast<std::uint32_t>(*args.step));
      const std::uint32_t words[4] = {four.x, four.y, four.z, four.w};
      const bool keep = uniform(words[i % 4]) >= args.rate;
      y[i] = keep ? round<T>(static_cast<float>(to_float(x[i]) / (1.0 - args.rate))) : round<T>(0.0f);
    }
  });
}

}  // namespace epitaxy
