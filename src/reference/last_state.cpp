#include "kernels/last_state.h"

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

/// Calls visit(element of h_n, element of [batch, directions * size]) over the last layer.
template <class Visit>
void each(const LastStateArgs& a, Visit&& visit) {
  for (std::int64_t direction = 0; direction < a.directions; ++direction)
    for (std::int64_t n = 0; n < a.batch; ++n)
      for (std::int64_t j = 0; j < a.size; ++j)
        visit((((a.layers - 1) * a.directions + direction) * a.batch + n) * a.size + j, (n * a.directions + direction) * a.size + j);
}

}  // namespace

template <>
void last_state_forward<Reference>(const LastStateArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    each(args, [&](std::int64_t state, std::int64_t y) { static_cast<T*>(args.y)[y] = static_cast<const T*>(args.x)[state]; });
  });
}

template <>
void last_state_backward<Reference>(const LastStateArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    T* const dh = static_cast<T*>(args.y);
    for (std::int64_t i = 0; i < args.layers * args.directions * args.batch * args.size; ++i) dh[i] = T{};
    each(args, [&](std::int64_t state, std::int64_t y) { dh[state] = static_cast<const T*>(args.x)[y]; });
  });
}

}  // namespace epitaxy
