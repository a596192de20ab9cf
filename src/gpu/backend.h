// The CUDA device backend.
#pragma once

#include "epitaxy/device.h"

namespace epitaxy {

/// Backend of cuda:index, made on first use; rejects an index that this machine lacks, naming what it has.
DeviceBackend& cuda_backend(int index);
/// Number of CUDA devices; 0 where there is no driver.
int cuda_device_count();

}  // namespace epitaxy
