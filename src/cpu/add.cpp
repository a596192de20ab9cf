// Sum of two tensors, vectorised and threaded.
#include "kernels/add.h"

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void add_forward<Host>(const AddArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* a = static_cast<const T*>(args.a);
    const T* b = static_cast<const T*>(args.b);
    T* y = static_cast<T*>(args.y);
    parallel_for(args.count, [=](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
      for (std::int64_t i = first; i < last; ++i) y[i] = round<T>(to_float(a[i]) + to_float(b[i]));
    });
  });
}

}  // namespace epitaxy
