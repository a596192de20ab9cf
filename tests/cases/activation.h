// Cases of the activations: sizes around a vector's and a block's edge, and values at the extremes.
#pragma once

#include <array>

#include "epitaxy/ops/activation.h"

namespace epitaxy::test {

inline constexpr std::array<Activation, 5> kActivations{Activation::relu, Activation::leaky_relu, Activation::sigmoid, Activation::tanh,
                                                        Activation::gelu};
inline constexpr std::array<std::int64_t, 6> kActivationSizes{1, 3, 8, 1023, 2048, 2049};
inline constexpr std::array<DType, 3> kFloatTypes{DType::fp32, DType::bf16, DType::fp16};

}  // namespace epitaxy::test
