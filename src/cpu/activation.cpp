// Activations, vectorised and threaded: ReLU on bit patterns, the others in fp32. ivdep: y may be x itself, never a shifted x.
#include "kernels/activation.h"

#include "cpu/bits.h"
#include "cpu/parallel.h"
#include "cpu/vector_math.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

template <class T>
void relu(const T* x, T* y, std::int64_t count) {
  parallel_for(count, [=](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
    for (std::int64_t i = first; i < last; ++i) {
      const Bits<T> bits = bits_of(x[i]);  // above -0 and up to -infinity: negative. A NaN stays
      constexpr Bits<T> kSign = static_cast<Bits<T>>(1u << (8 * sizeof(T) - 1));
      set_bits(y[i], static_cast<Bits<T>>(bits >= kSign && bits <= (kSign | kInfinityBits<T>) ? 0 : bits));
    }
  });
}

template <class T>
void relu_gradient(const T* saved, const T* dy, T* dx, std::int64_t count) {
  parallel_for(count, [=](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
    for (std::int64_t i = first; i < last; ++i) {
      const Bits<T> bits = bits_of(saved[i]), d = bits_of(dy[i]);
      const bool positive = bits > 0 && bits <= kInfinityBits<T>;
      set_bits(dx[i], static_cast<Bits<T>>(positive ? d : 0));
    }
  });
}

template <class T, class Function>
void map(const T* x, T* y, std::int64_t count, Function function) {
  parallel_for(count, [=](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
    for (std::int64_t i = first; i < last; ++i) y[i] = round<T>(function(to_float(x[i])));
  });
}

/// dx = dy * slope(saved)
template <class T, class Slope>
void map_gradient(const T* saved, const T* dy, T* dx, std::int64_t count, Slope slope) {
  parallel_for(count, [=](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
    for (std::int64_t i = first; i < last; ++i) dx[i] = round<T>(to_float(dy[i]) * slope(to_float(saved[i])));
  });
}

}  // namespace

template <>
void activation_forward<Host>(const ActivationArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    T* y = static_cast<T*>(args.y);
    const float negative = args.slope;
    switch (args.kind) {
      case Activation::none: return map(x, y, args.count, [](float v) { return v; });
      case Activation::relu: return relu(x, y, args.count);
      case Activation::leaky_relu: return map(x, y, args.count, [negative](float v) { return v > 0.0f ? v : negative * v; });
      case Activation::sigmoid: return map(x, y, args.count, [](float v) { return fast_sigmoid(v); });
      case Activation::tanh: return map(x, y, args.count, [](float v) { return fast_tanh(v); });
      case Activation::gelu: return map(x, y, args.count, [](float v) { return v * fast_normal_cdf(v); });
    }
  });
}

template <>
void activation_backward<Host>(const ActivationArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* saved = static_cast<const T*>(args.x);
    const T* dy = static_cast<const T*>(args.dy);
    T* dx = static_cast<T*>(args.y);
    const float negative = args.slope;
    const auto with = [&](auto slope) { map_gradient(saved, dy, dx, args.count, slope); };
    switch (args.kind) {
      case Activation::none: return with([](float) { return 1.0f; });
      case Activation::relu: return relu_gradient(saved, dy, dx, args.count);
      case Activation::leaky_relu: return with([negative](float s) { return s > 0.0f ? 1.0f : negative; });
      case Activation::sigmoid: return with([](float s) { return s * (1.0f - s); });
      case Activation::tanh: return with([](float s) { return 1.0f - s * s; });
      case Activation::gelu: return with([](float s) { return fast_normal_cdf(s) + s * fast_exp(-0.5f * s * s) * 0.39894228040143268f; });
    }
  });
}

}  // namespace epitaxy
