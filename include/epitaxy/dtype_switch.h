// Turns a run-time dtype into a compile-time type: with_float(dtype, [&]<class T>() { ... }).
#pragma once

#include "epitaxy/dtype.h"
#include "epitaxy/error.h"

namespace epitaxy {

/// float, BFloat16 or Half.
template <class Work>
void with_float(DType dtype, Work&& work) {
  switch (dtype) {
    case DType::fp32: return work.template operator()<float>();
    case DType::bf16: return work.template operator()<BFloat16>();
    case DType::fp16: return work.template operator()<Half>();
    default: reject("expected fp32, bf16 or fp16, got ", name(dtype));
  }
}

/// What images arrive in: std::uint8_t, std::uint16_t or float.
template <class Work>
void with_pixel(DType dtype, Work&& work) {
  switch (dtype) {
    case DType::uint8: return work.template operator()<std::uint8_t>();
    case DType::uint16: return work.template operator()<std::uint16_t>();
    case DType::fp32: return work.template operator()<float>();
    default: reject("expected uint8, uint16 or fp32 pixels, got ", name(dtype));
  }
}

}  // namespace epitaxy
