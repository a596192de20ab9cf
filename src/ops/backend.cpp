// Which backend a device has in this build.
#include "epitaxy/ops/operation.h"
#if EPITAXY_HAS_CUDA
#include "gpu/backend.h"
#endif
#if EPITAXY_HAS_EMULATOR
#include "emulator/backend.h"
#endif

namespace epitaxy {

DeviceBackend& backend_of(Device device) {
  switch (device.kind) {
    case DeviceKind::cpu: return cpu_backend();
    case DeviceKind::cuda:
#if EPITAXY_HAS_CUDA
      return cuda_backend(device.index);
#else
      reject("device ", name(device), ": this build has no CUDA; use --device cpu, or build where a CUDA toolkit is installed");
#endif
    case DeviceKind::emulated:
#if EPITAXY_HAS_EMULATOR
      return emulated_backend();
#else
      reject("device emulated: this build has no emulator; configure with -DEPITAXY_EMULATOR=ON");
#endif
  }
  reject("unknown device");
}

Context make_context(Device device) {
  DeviceBackend& backend = backend_of(device);
  return {&backend, backend.stream(), false};
}

}  // namespace epitaxy
