// 16 rows of few columns, turned so that one column's values of all rows lie together: loops over the rows are vectorised however short a
// row is.
#pragma once

#include <cstdint>

#include "epitaxy/dtype.h"

namespace epitaxy {

inline constexpr int kBlockRows = 16;
inline constexpr int kBlockColumns = 128;  // at most: 8 KB

/// x [rows, columns] -> block [columns][kBlockRows]; rows past the last are 0.
template <class T>
void load_block(const T* x, float* block, int rows, std::int64_t columns) {
  if (rows < kBlockRows)
    for (std::int64_t i = 0; i < columns * kBlockRows; ++i) block[i] = 0.0f;
  for (std::int64_t c = 0; c < columns; ++c)
    for (int r = 0; r < rows; ++r) block[c * kBlockRows + r] = to_float(x[r * columns + c]);
}

/// The reverse, rounded to T.
template <class T>
void store_block(const float* block, T* x, int rows, std::int64_t columns) {
  for (int r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) x[r * columns + c] = round<T>(block[c * kBlockRows + r]);
}

}  // namespace epitaxy
