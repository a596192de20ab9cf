// The memory-bound operations on one image batch: small in a test, large in bench/memory_bench.cpp.
#pragma once

#include <string>
#include <vector>

#include "epitaxy/ops/activation.h"
#include "epitaxy/ops/add.h"
#include "epitaxy/ops/cast.h"
#include "epitaxy/ops/convert_image.h"
#include "epitaxy/ops/dropout.h"
#include "epitaxy/ops/loss.h"
#include "epitaxy/ops/pool2d.h"
#include "epitaxy/ops/softmax.h"

namespace epitaxy::test {

struct MemoryCase {
  std::string name;
  OperationPtr operation;
  std::vector<TensorSpec> inputs;  // integers: 0 or 1, good as class, step, tap or pixel
};

/// `image` is [N, H, W, C] with even H and W.
inline std::vector<MemoryCase> memory_cases(DType dtype, Shape image) {
  const TensorSpec x{dtype, image};
  const std::int64_t n = image[0], h = image[1], w = image[2], c = image[3];
  const TensorSpec half{dtype, {n, h / 2, w / 2, c}}, pooled{dtype, {n, c}}, rows{dtype, {n * h * w, c}};
  const TensorSpec step{DType::int64, {1}}, channels{DType::fp32, {c}};
  const auto taps = [](const TensorSpec& spec) { return TensorSpec{DType::uint8, spec.shape}; };
  const Pool2dOptions stem{{3, 3}, {2, 2}, {1, 1, 1, 1}};
  return {
      {"add", add(), {x, x}},
      {"cast_to_fp32", cast(DType::fp32), {x}},
      {"convert_uint8", convert_image(dtype), {{DType::uint8, image}, channels, channels}},
      {"convert_uint16", convert_image(dtype), {{DType::uint16, image}, channels, channels}},
      {"dropout", dropout(0.5f, 1, 0), {x, step}},
      {"relu", activation(Activation::relu), {x}},
      {"relu_gradient", activation_gradient(Activation::relu), {x, x}},
      {"sigmoid", activation(Activation::sigmoid), {x}},
      {"tanh", activation(Activation::tanh), {x}},
      {"gelu", activation(Activation::gelu), {x}},
      {"gelu_gradient", activation_gradient(Activation::gelu), {x, x}},
      {"max_pool2d", max_pool2d({}), {x}},
      {"max_pool2d_gradient", max_pool2d_gradient({}, h, w), {half, taps(half)}},
      {"max_pool2d_3x3", max_pool2d(stem), {x}},
      {"max_pool2d_3x3_gradient", max_pool2d_gradient(stem, h, w), {half, taps(half)}},
      {"average_pool2d", average_pool2d({}), {x}},
      {"average_pool2d_gradient", average_pool2d_gradient({}, h, w), {half}},
      {"global_average_pool", global_average_pool(), {x}},
      {"global_average_pool_gradient", global_average_pool_gradient(h, w), {pooled}},
      {"softmax", softmax(), {rows}},
      {"softmax_gradient", softmax_gradient(), {rows, rows}},
      {"softmax_cross_entropy", softmax_cross_entropy(), {rows, {DType::int32, {n * h * w}}}},
      {"mean_squared_error", regression_loss(RegressionLoss::mean_squared_error), {rows, {DType::fp32, rows.shape}}},
  };
}

}  // namespace epitaxy::test
