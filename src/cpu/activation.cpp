// Activations in fp32, vectorised and threaded.
#include "kernels/activation.h"

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

/// ReLU is the one that matters for speed; the others are bound by their transcendental and use the reference.
template <class T>
void relu(const ActivationArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  parallel_for(args.count, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) y[i] = to_float(x[i]) <= 0.0f ? T{} : x[i];
  });
}

template <class T>
void relu_gradient(const ActivationArgs& args) {
  const T* saved = static_cast<const T*>(args.x);
  const T* dy = static_cast<const T*>(args.dy);
  T* dx = static_cast<T*>(args.y);
  parallel_for(args.count, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) dx[i] = to_float(saved[i]) > 0.0f ? dy[i] : T{};
  });
}

}  // namespace

template <>
void activation_forward<Host>(const ActivationArgs& args, Stream stream) {
  if (args.kind != Activation::relu) return activation_forward<Reference>(args, stream);
  with_float(args.dtype, [&]<class T>() { relu<T>(args); });
}

template <>
void activation_backward<Host>(const ActivationArgs& args, Stream stream) {
  if (args.kind != Activation::relu) return activation_backward<Reference>(args, stream);
  with_float(args.dtype, [&]<class T>() { relu_gradient<T>(args); });
}

}  // namespace epitaxy
