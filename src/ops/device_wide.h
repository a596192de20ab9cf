// Operations that CUB does device-wide on CUDA have no kernel of ours to emulate: the emulated device, whose memory is the host's, runs
// the reference.
#pragma once

#include <type_traits>

#include "epitaxy/device.h"

namespace epitaxy {

template <class World>
using DeviceWide = std::conditional_t<std::is_same_v<World, Emulated>, Reference, World>;

}  // namespace epitaxy
