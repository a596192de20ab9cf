// Elementwise activations.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

/// relu max(x,0); leaky_relu x or slope*x; sigmoid 1/(1+exp(-x)); tanh; gelu x*Phi(x) with erf (Hendrycks & Gimpel 2016, exact form).
enum class Activation : std::uint8_t { none, relu, leaky_relu, sigmoid, tanh, gelu };

std::string_view name(Activation activation);
Activation parse_activation(std::string_view name);

/// x (any shape, floating) -> y of the same spec. `slope` is leaky_relu's, in [0, 1).
OperationPtr activation(Activation kind, float slope = 0.01f);
/// (saved, dy) -> dx. `saved` is x for gelu, else y.
OperationPtr activation_gradient(Activation kind, float slope = 0.01f);
/// The kind of an operation that activation() made; none for any other.
Activation activation_kind(const Operation& operation);

}  // namespace epitaxy
