// Marks a plain inline function that device code calls too. Nothing under nvcc's absence.
#pragma once

#if defined(__CUDACC__)
#define EPITAXY_HOST_DEVICE __host__ __device__
#else
#define EPITAXY_HOST_DEVICE
#endif
