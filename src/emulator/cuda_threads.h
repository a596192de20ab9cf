// CUDA's synchronisation, warp and atomic functions under the emulator. There is no __activemask: what it returns depends
// on the schedule, on a GPU too.
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>

#include "emulator/runtime.h"
#include "emulator/sanitizers.h"

#define EPITAXY_SITE ::epitaxy::emulated::Site site = {__builtin_FILE(), __builtin_LINE()}

namespace epitaxy::emulated {

inline void __syncthreads(EPITAXY_SITE) { meet_block(Meeting::syncthreads, false, site); }
inline int __syncthreads_count(int predicate, EPITAXY_SITE) { return meet_block(Meeting::syncthreads_count, predicate != 0, site); }
inline int __syncthreads_and(int predicate, EPITAXY_SITE) { return meet_block(Meeting::syncthreads_and, predicate != 0, site); }
inline int __syncthreads_or(int predicate, EPITAXY_SITE) { return meet_block(Meeting::syncthreads_or, predicate != 0, site); }
inline void __syncwarp(unsigned mask = 0xffffffffu, EPITAXY_SITE) { meet_lanes(Meeting::syncwarp, mask, 0, 0, site); }
inline void __threadfence() { fence(); }
inline void __threadfence_block() { fence(); }
[[noreturn]] inline void __trap(EPITAXY_SITE) { stop_kernel("__trap", site); }

/// Values travel between lanes as 64 bits.
template <class T>
std::uint64_t to_bits(T value) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "warp functions exchange 32- and 64-bit numbers");
  if constexpr (sizeof(T) == 4)
    return std::bit_cast<std::uint32_t>(value);
  else
    return std::bit_cast<std::uint64_t>(value);
}
template <class T>
T from_bits(std::uint64_t bits) {
  if constexpr (sizeof(T) == 4)
    return std::bit_cast<T>(static_cast<std::uint32_t>(bits));
  else
    return std::bit_cast<T>(bits);
}

// A shuffle reads a lane of its own segment of `width` lanes; one that would leave the segment returns the lane's own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, EPITAXY_SITE) {
  const int lane = lane_index();
  return from_bits<T>(meet_lanes(Meeting::shuffle, mask, to_bits(value), (lane & ~(width - 1)) | (source & (width - 1)), site));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EPITAXY_SITE) {
  const int lane = lane_index(), source = lane - static_cast<int>(delta);
  return from_bits<T>(meet_lanes(Meeting::shuffle, mask, to_bits(value), source < (lane & ~(width - 1)) ? lane : source, site));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EPITAXY_SITE) {
  const int lane = lane_index(), source = lane + static_cast<int>(delta);
  return from_bits<T>(meet_lanes(Meeting::shuffle, mask, to_bits(value), source > (lane | (width - 1)) ? lane : source, site));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, EPITAXY_SITE) {
  const int lane = lane_index(), source = lane ^ lanes;
  return from_bits<T>(meet_lanes(Meeting::shuffle, mask, to_bits(value), source > (lane | (width - 1)) ? lane : source, site));
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EPITAXY_SITE) {
  return static_cast<unsigned>(meet_lanes(Meeting::ballot, mask, predicate != 0, 0, site));
}
inline int __any_sync(unsigned mask, int predicate, EPITAXY_SITE) {
  return static_cast<int>(meet_lanes(Meeting::any, mask, predicate != 0, 0, site));
}
inline int __all_sync(unsigned mask, int predicate, EPITAXY_SITE) {
  return static_cast<int>(meet_lanes(Meeting::all, mask, predicate != 0, 0, site));
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, EPITAXY_SITE) {
  return static_cast<unsigned>(meet_lanes(Meeting::match_any, mask, to_bits(value), 0, site));
}

template <class T>
T reduce_lanes(Meeting kind, unsigned mask, T value, Site site) {
  static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned>, "__reduce_*_sync takes int or unsigned");
  return from_bits<T>(meet_lanes(kind, mask, to_bits(value), 0, site));
}
template <class T>
T __reduce_add_sync(unsigned mask, T value, EPITAXY_SITE) {
  return reduce_lanes(Meeting::reduce_add, mask, value, site);
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, EPITAXY_SITE) {
  return reduce_lanes(std::is_signed_v<T> ? Meeting::reduce_min_signed : Meeting::reduce_min, mask, value, site);
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, EPITAXY_SITE) {
  return reduce_lanes(std::is_signed_v<T> ? Meeting::reduce_max_signed : Meeting::reduce_max, mask, value, site);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value, EPITAXY_SITE) {
  return reduce_lanes(Meeting::reduce_and, mask, value, site);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, EPITAXY_SITE) {
  return reduce_lanes(Meeting::reduce_or, mask, value, site);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, EPITAXY_SITE) {
  return reduce_lanes(Meeting::reduce_xor, mask, value, site);
}

template <class T>
inline constexpr bool kAtomicInteger = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

/// *address = change(*address), returning the old value. Threads take turns, so a plain update is atomic; under TSan it is
/// a real atomic, relaxed as in CUDA, ordering memory only after a fence.
template <class T, class Change>
T update_atomically(T* address, Change change) {
#if EPITAXY_TSAN
  using Bits __attribute__((may_alias)) = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  auto* const bits = reinterpret_cast<Bits*>(address);
  const bool ordered = atomics_order_memory();
  Bits old = ordered ? __atomic_load_n(bits, __ATOMIC_ACQUIRE) : __atomic_load_n(bits, __ATOMIC_RELAXED);
  for (;;) {
    const Bits changed = static_cast<Bits>(to_bits(change(from_bits<T>(old))));
    if (ordered ? __atomic_compare_exchange_n(bits, &old, changed, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
                : __atomic_compare_exchange_n(bits, &old, changed, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      return from_bits<T>(old);
  }
#else
  const T old = *address;
  *address = change(old);
  return old;
#endif
}

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  static_assert(kAtomicInteger<T> || std::is_same_v<T, float> || std::is_same_v<T, double>, "CUDA has no atomicAdd of this type");
  if constexpr (std::is_same_v<T, int>)  // wraps around
    return update_atomically(address,
                             [value](T old) { return static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value)); });
  else
    return update_atomically(address, [value](T old) { return old + value; });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  static_assert(kAtomicInteger<T> || std::is_same_v<T, long long>, "CUDA has no atomicMax of this type");
  return update_atomically(address, [value](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  static_assert(kAtomicInteger<T> || std::is_same_v<T, long long>, "CUDA has no atomicMin of this type");
  return update_atomically(address, [value](T old) { return value < old ? value : old; });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  static_assert(kAtomicInteger<T> || std::is_same_v<T, float>, "CUDA has no atomicExch of this type");
  return update_atomically(address, [value](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  static_assert(kAtomicInteger<T>, "CUDA has no atomicCAS of this type");
  return update_atomically(address, [compare, value](T old) { return old == compare ? value : old; });
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  static_assert(kAtomicInteger<T>, "CUDA has no atomicOr of this type");
  return update_atomically(address, [value](T old) { return old | value; });
}
template <class T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  static_assert(kAtomicInteger<T>, "CUDA has no atomicAnd of this type");
  return update_atomically(address, [value](T old) { return old & value; });
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, T value) {
  *address = value;
}

}  // namespace epitaxy::emulated

#undef EPITAXY_SITE
