// Optimizer steps in double; state is stored in fp32.
#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

void store_copy(void* copy, DType dtype, std::int64_t i, float value) {
  if (!copy) return;
  with_float(dtype, [&]<class T>() { static_cast<T*>(copy)[i] = round<T>(value); });
}

}  // namespace

template <>
void sgd<Reference>(const SgdArgs& args, Stream) {
  const double rate = *args.learning_rate, scale = *args.gradient_scale, momentum = args.momentum;
  for (std::int64_t i = 0; i < args.count; ++i) {
    const double p = args.parameters[i];
    double g = args.gradients[i] * scale;
    if (i < args.decay_count) g += args.weight_decay * p;
    const double v = momentum * args.velocity[i] + g;
    const double direction = args.nesterov ? g + momentum * v : v;
    const bool skip = scale == 0;
    args.new_velocity[i] = skip ? args.velocity[i] : static_cast<float>(v);
    args.new_parameters[i] = static_cast<float>(skip ? p : p - rate * direction);
    store_copy(args.copy, args.copy_dtype, i, args.new_parameters[i]);
  }
}

template <>
void adam<Reference>(const AdamArgs& args, Stream) {
  const double rate = *args.learning_rate, scale = *args.gradient_scale, t = static_cast<double>(*args.step + 1);
  const double beta1 = args.beta1, beta2 = args.beta2;
  const double correction1 = 1 - std::pow(beta1, t), correction2 = 1 - std::pow(beta2, t);
  for (std::int64_t i = 0; i < args.count; ++i) {
    double p = args.parameters[i], g = args.gradients[i] * scale;
    if (i < args.decay_count) {
      if (args.decoupled)
        p -= rate * args.weight_decay * p;
      else
        g += args.weight_decay * p;
    }
    const double m = beta1 * args.m[i] + (1 - beta1) * g;
    const double v = beta2 * args.v[i] + (1 - beta2) * g * g;
    p -= rate * (m / correction1) / (std::sqrt(v / correction2) + args.epsilon);
    const bool skip = scale == 0;
    args.new_m[i] = skip ? args.m[i] : static_cast<float>(m);
    args.new_v[i] = skip ? args.v[i] : static_cast<float>(v);
    args.new_parameters[i] = skip ? args.parameters[i] : static_cast<float>(p);
    store_copy(args.copy, args.copy_dtype, i, args.new_parameters[i]);
  }
}

template <>
void advance_step<Reference>(const std::int64_t* step, std::int64_t* next, Stream) {
  *next = *step + 1;
}

template <>
void global_norm<Reference>(const GlobalNormArgs& args, Stream) {
  double sum = 0;
  for (std::int64_t i = 0; i < args.count; ++i) sum += static_cast<double>(args.gradients[i]) * args.gradients[i];
  *args.norm = static_cast<float>(std::sqrt(sum));
  *args.scale = static_cast<float>(std::fmin(1.0, args.maximum / (std::sqrt(sum) + 1e-6)));
}

}  // namespace epitaxy
