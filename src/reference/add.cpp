// Sum of two tensors in double.
#include "kernels/add.h"

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void add_forward<Reference>(const AddArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* a = static_cast<const T*>(args.a);
    const T* b = static_cast<const T*>(args.b);
    T* y = static_cast<T*>(args.y);
    for (std::int64_t i = 0; i < args.count; ++i)
      y[i] = round<T>(static_cast<float>(static_cast<double>(to_float(a[i])) + static_cast<double>(to_float(b[i]))));
  });
}

}  // namespace epitaxy
