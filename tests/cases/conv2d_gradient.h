// Cases of the input gradient's epilogue: what is added, how the ReLU's mask comes, whether batch normalisation's sums are taken.
#pragma once

#include "tests/cases/conv2d.h"
#include "tests/support/compare.h"

namespace epitaxy::test {

inline std::vector<Conv2dGradientEpilogue> gradient_epilogues() {
  return {{.add = true},
          {.mask = ReluMask::output},
          {.mask = ReluMask::bits},
          {.reductions = true},
          {.mask = ReluMask::recomputed, .reductions = true},
          {.add = true, .mask = ReluMask::output, .reductions = true},
          {.add = true, .mask = ReluMask::bits, .reductions = true},
          {.add = true, .mask = ReluMask::recomputed, .reductions = true}};
}

/// dy, filter, and what the epilogue reads. With integers every sum is exact: inverse_std is 1/2.
inline std::vector<Tensor> gradient_inputs(const Conv2dCase& one, DType dtype, const Conv2dGradientEpilogue& epilogue, Fill fill) {
  const bool integers = fill.kind == Fill::Kind::small_integers;
  const TensorSpec dx{dtype, one.x()}, channels{DType::fp32, {one.c}};
  const Tensor filter = make({dtype, one.filter()}, fill, 2);
  Conv2dOptions plain = one.options;
  plain.residual = plain.statistics = false, plain.tf32 = false;
  const std::vector<TensorSpec> forward{dx, filter.spec()};
  std::vector<Tensor> inputs{make(conv2d(plain)->outputs(forward)[0], fill, 4), filter};
  if (epilogue.add) inputs.push_back(make(dx, fill, 7));
  if (epilogue.mask == ReluMask::output) inputs.push_back(make(dx, fill, 8));
  if (epilogue.mask == ReluMask::bits)  // those past the last channel mean nothing
    inputs.push_back(make({DType::uint8, {one.n, one.h, one.w, (one.c + 7) / 8}}, Fill::integers(0, 255), 9));
  if (epilogue.reductions) {
    inputs.push_back(make(dx, fill, 10));
    inputs.push_back(make(channels, fill, 11));
    inputs.push_back(make(channels, integers ? Fill::constant(0.5) : Fill::uniform(0.5, 2), 12));
  }
  if (epilogue.mask == ReluMask::recomputed) {
    inputs.push_back(make(channels, fill, 13));
    inputs.push_back(make(channels, fill, 14));
  }
  return inputs;
}

}  // namespace epitaxy::test
