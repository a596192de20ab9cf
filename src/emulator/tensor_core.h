// ldmatrix and mma.sync over the registers of a warp's 32 lanes.
#pragma once

#include "emulator/scheduler.h"

namespace epitaxy::emulated {

/// All 65536 values of a Half: converting by hand would cost more than the products.
const float* half_table();
/// The lane's own part: ldmatrix and stmatrix row addresses must be aligned and lie in shared memory.
void check_matrix_operand(Scheduler& scheduler, Meeting kind, Site site);
/// The operation for all lanes, which have deposited their register addresses.
void matrix_operation(Scheduler& scheduler, int warp, Meeting kind);

}  // namespace epitaxy::emulated
