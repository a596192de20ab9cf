// Convolution of images with one to four channels: forward and filter gradient.
#include "epitaxy/dtype_switch.h"
#include "kernels/conv2d_paths.h"
#include "kernels/device/conv_first.cuh"

namespace epitaxy {
using EPITAXY_WORLD::World;

namespace {

template <class T, bool kTensor>
void first_forward(const Conv2dArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  switch (conv2d_first_depth(args.problem, args.pass)) {
    case 16: return launch_first_forward<FirstForward<T, kTensor, 16>>(args, stream);
    case 32: return launch_first_forward<FirstForward<T, kTensor, 32>>(args, stream);
    default:
      if constexpr (sizeof(T) == 2) return launch_first_forward<FirstForward<T, kTensor, 64>>(args, stream);
  }
}

template <class T, bool kTensor>
void first_gradient(const Conv2dArgs& args, Stream stream) {
  using namespace EPITAXY_WORLD;
  const std::int64_t columns = conv2d_first_depth(args.problem, args.pass);
  if constexpr (kTensor) {
    if (columns == 16) return launch_first_gradient<FirstGradient<T, kTensor, 16>>(args, stream);
    if (columns == 32) return launch_first_gradient<FirstGradient<T, kTensor, 32>>(args, stream);
  }
  launch_first_gradient<FirstGradient<T, kTensor, 64>>(args, stream);
}

}  // namespace

template <>
void conv2d_first<World>(const Conv2dArgs& args, Stream stream) {
  const Conv2dProblem& d = args.problem;
  const bool forward = args.pass == Conv2dPass::forward;
  with_float(d.dtype, [&]<class T>() {
    if constexpr (sizeof(T) == 4)
      if (!d.tf32) return forward ? first_forward<T, false>(args, stream) : first_gradient<T, false>(args, stream);
    forward ? first_forward<T, true>(args, stream) : first_gradient<T, true>(args, stream);
  });
}

}  // namespace epitaxy
