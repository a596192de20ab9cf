// The bit patterns of float types as plain integers: loops over these are vectorised at the type's own width, where copies of the
// 16-bit structs are not.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "epitaxy/dtype.h"

namespace epitaxy {

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint16_t>;
template <class T>
using Key = std::make_signed_t<Bits<T>>;

/// The pattern of infinity; a magnitude above it is a NaN.
template <class T>
inline constexpr Bits<T> kInfinityBits = std::is_same_v<T, float>  ? Bits<T>(0x7f800000u)
                                         : std::is_same_v<T, Half> ? Bits<T>(0x7c00u)
                                                                   : Bits<T>(0x7f80u);

template <class T>
inline Bits<T> bits_of(const T& x) {
  if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<std::uint32_t>(x);
  else
    return x.bits;
}

template <class T>
inline void set_bits(T& x, Bits<T> bits) {
  if constexpr (std::is_same_v<T, float>)
    x = std::bit_cast<float>(bits);
  else
    x.bits = bits;
}

/// Integers ordered as the numbers are: zeros of both signs equal, every NaN the largest.
template <class T>
inline Key<T> key_of(Bits<T> bits) {
  constexpr Bits<T> kMagnitude = std::numeric_limits<Key<T>>::max();
  const Bits<T> magnitude = static_cast<Bits<T>>(bits & kMagnitude);
  const Key<T> signed_magnitude = static_cast<Key<T>>(bits > kMagnitude ? -static_cast<Key<T>>(magnitude) : static_cast<Key<T>>(magnitude));
  return magnitude > kInfinityBits<T> ? std::numeric_limits<Key<T>>::max() : signed_magnitude;
}

}  // namespace epitaxy
