// Conversion between floating types, vectorised and threaded.
#include "kernels/cast.h"

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void cast_forward<Host>(const CastArgs& args, Stream) {
  with_float(args.from, [&]<class From>() {
    with_float(args.to, [&]<class To>() {
      const From* x = static_cast<const From*>(args.x);
      To* y = static_cast<To*>(args.y);
      parallel_for(args.count, [=](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
        for (std::int64_t i = first; i < last; ++i) y[i] = round<To>(to_float(x[i]));
      });
    });
  });
}

}  // namespace epitaxy
