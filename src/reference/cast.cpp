// Conversion between floating types.
#include "kernels/cast.h"

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void cast_forward<Reference>(const CastArgs& args, Stream) {
  with_float(args.from, [&]<class From>() {
    with_float(args.to, [&]<class To>() {
      const From* x = static_cast<const From*>(args.x);
      To* y = static_cast<To*>(args.y);
      for (std::int64_t i = 0; i < args.count; ++i) y[i] = round<To>(to_float(x[i]));
    });
  });
}

}  // namespace epitaxy
