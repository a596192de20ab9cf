// The emulated device: host memory between guards, work done at once, limits of a chosen GPU.
#pragma once

#include "epitaxy/device.h"

namespace epitaxy {

/// Its memory is filled with 0xFF (NaN) when allocated. Writes outside an allocation are reported by the next launch, or by
/// synchronize() if found when the memory is freed; under ASan at once.
DeviceBackend& emulated_backend();

/// The GPU whose limits and size launches see from now on, kProfile90 at first. Streams handed out before follow.
void set_emulated_profile(const DeviceProfile& profile);

}  // namespace epitaxy
