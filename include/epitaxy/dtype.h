// Element types. The 16-bit floats are our own, so that host code, CUDA kernels and emulated kernels share one type.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "epitaxy/host_device.h"

namespace epitaxy {

/// bfloat16: the upper half of an fp32, round to nearest even.
struct BFloat16 {
  std::uint16_t bits;
};

/// IEEE 754 binary16, round to nearest even, subnormals kept.
struct Half {
  std::uint16_t bits;
};

EPITAXY_HOST_DEVICE inline float to_float(float x) { return x; }

EPITAXY_HOST_DEVICE inline float to_float(BFloat16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

EPITAXY_HOST_DEVICE inline float to_float(Half x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (x.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = x.bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in fp32
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t wide = exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23;
  return std::bit_cast<float>(sign | wide | (mantissa << 13));
}

/// round<T>(x): x in type T, to nearest, ties to even; NaN stays NaN, overflow becomes infinity.
template <class T>
EPITAXY_HOST_DEVICE T round(float x);

template <>
EPITAXY_HOST_DEVICE inline float round<float>(float x) {
  return x;
}

template <>
EPITAXY_HOST_DEVICE inline BFloat16 round<BFloat16>(float x) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

template <>
EPITAXY_HOST_DEVICE inline Half round<Half>(float x) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (u >> 16) & 0x8000u;
  const std::uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u)};
  if (a >= 0x477ff000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // >= 65520 rounds to infinity
  if (a < 0x38800000u) {  // below 2^-14: a subnormal; adding 0.5 aligns the mantissa and rounds in hardware
    const float aligned = std::bit_cast<float>(a) + 0.5f;
    return {static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(aligned) - 0x3f000000u))};
  }
  const std::uint32_t rounded = a + 0xfffu + ((a >> 13) & 1u);
  return {static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

/// x rounded to tf32: 10 mantissa bits, to nearest, ties away from zero (cvt.rna.tf32.f32).
EPITAXY_HOST_DEVICE inline float round_tf32(float x) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7f800000u) == 0x7f800000u) return x;
  return std::bit_cast<float>((u + 0x1000u) & 0xffffe000u);
}

enum class DType : std::uint8_t { fp32, bf16, fp16, uint8, uint16, int32, int64 };

constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::fp32:
    case DType::int32: return 4;
    case DType::bf16:
    case DType::fp16:
    case DType::uint16: return 2;
    case DType::uint8: return 1;
    case DType::int64: return 8;
  }
  return 0;
}

constexpr bool is_floating(DType dtype) { return dtype == DType::fp32 || dtype == DType::bf16 || dtype == DType::fp16; }

/// Unit roundoff: half the distance from 1 to the next number; 0 for integers.
constexpr double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::fp32: return 0x1p-24;
    case DType::bf16: return 0x1p-8;
    case DType::fp16: return 0x1p-11;
    default: return 0.0;
  }
}

/// "fp32", "bf16", ...
std::string_view name(DType dtype);
/// The dtype of that name; rejects an unknown one.
DType parse_dtype(std::string_view name);

template <class T>
constexpr DType dtype_of();
// clang-format off
template <> constexpr DType dtype_of<float>() { return DType::fp32; }
template <> constexpr DType dtype_of<BFloat16>() { return DType::bf16; }
template <> constexpr DType dtype_of<Half>() { return DType::fp16; }
template <> constexpr DType dtype_of<std::uint8_t>() { return DType::uint8; }
template <> constexpr DType dtype_of<std::uint16_t>() { return DType::uint16; }
template <> constexpr DType dtype_of<std::int32_t>() { return DType::int32; }
template <> constexpr DType dtype_of<std::int64_t>() { return DType::int64; }
// clang-format on

/// How arithmetic is done. fp32 is strict; tf32 rounds matrix-product inputs; bf16 and fp16 keep fp32 master weights and accumulation.
enum class Precision : std::uint8_t { fp32, tf32, bf16, fp16 };

std::string_view name(Precision precision);
Precision parse_precision(std::string_view name);

/// The type activations are stored in.
constexpr DType storage(Precision precision) {
  return precision == Precision::bf16 ? DType::bf16 : precision == Precision::fp16 ? DType::fp16 : DType::fp32;
}

}  // namespace epitaxy
