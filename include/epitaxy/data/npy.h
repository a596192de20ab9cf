// Arrays as NumPy saves them: .npy (format 1 to 3), and .npz, a ZIP archive of them.
#pragma once

#include <map>
#include <string>

#include "epitaxy/tensor.h"

namespace epitaxy {

/// The array of a .npy file: little-endian, C order, up to 6 dimensions. Integers (i1..i8, u1..u8, bool) become int32, and must fit; f2,
/// f4 and f8 become fp32. Another type or order is a usage error with the remedy; a truncated or damaged file one clear failure.
Tensor read_npy(const std::string& path);

/// The arrays of a .npz file by name (without ".npy"): stored (numpy.savez), or deflated (savez_compressed) where this build has zlib.
std::map<std::string, Tensor> read_npz(const std::string& path);

}  // namespace epitaxy
