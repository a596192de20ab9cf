// Chooses the world an operation runs in. Explicit, by device; no registry.
#pragma once

#include "epitaxy/ops/operation.h"

namespace epitaxy {

inline constexpr bool kHasCuda = EPITAXY_HAS_CUDA;
inline constexpr bool kHasEmulator = EPITAXY_HAS_EMULATOR;

/// Which CPU implementation an operation has: the reference alone, or a fast one too (src/cpu).
enum class CpuPath { reference, fast };

/// Calls work.template operator()<World>(stream) for the context's world:
///   dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { softmax_forward<World>(args, stream); });
template <CpuPath path, class Work>
void dispatch(const Context& context, Work&& work) {
  switch (context.device().kind) {
    case DeviceKind::cpu:
      if constexpr (path == CpuPath::fast)
        if (!context.reference) return work.template operator()<Host>(context.stream);
      return work.template operator()<Reference>(context.stream);
    case DeviceKind::emulated:
      if constexpr (kHasEmulator) return work.template operator()<Emulated>(context.stream);
      break;
    case DeviceKind::cuda:
      if constexpr (kHasCuda) return work.template operator()<Cuda>(context.stream);
      break;
  }
  fail("device ", name(context.device()), " is not in this build");
}

/// Checks the number of inputs: "conv2d takes 2 or 3 inputs, got 1".
inline void require_inputs(const char* operation, std::size_t got, std::size_t least, std::size_t most) {
  require(got >= least && got <= most, operation, " takes ", least, most > least ? text(" to ", most) : "", " inputs, got ", got);
}

}  // namespace epitaxy
