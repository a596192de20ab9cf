// Random tensors for benchmarks, made quickly: zeros would run faster than what training sees.
#pragma once

#include <algorithm>
#include <cstring>

#include "tests/support/compare.h"

namespace epitaxy::bench {

/// A tensor on the device with random contents that repeat every 2^20 elements.
inline Tensor filled(DeviceBackend& backend, const TensorSpec& spec, std::uint64_t seed) {
  const Tensor period = test::make({spec.dtype, {std::min<std::int64_t>(spec.shape.count(), 1 << 20)}},
                                   is_floating(spec.dtype) ? test::Fill::normal() : test::Fill::integers(0, 1), seed);
  const Tensor whole(cpu_backend(), spec);
  for (std::size_t at = 0; at < whole.bytes(); at += period.bytes())
    std::memcpy(static_cast<std::byte*>(whole.data()) + at, period.data(), std::min(period.bytes(), whole.bytes() - at));
  return copy_to(backend, whole, cpu_backend());
}

}  // namespace epitaxy::bench
