// Splits a loop over the CPU's threads where the work is worth it.
#pragma once

#include <algorithm>
#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace epitaxy {

/// Calls body(first, last) on pieces of [0, count), in parallel where count exceeds `grain` (elements worth one thread's start).
/// The pieces never influence a result: bodies write disjoint elements.
template <class Body>
void parallel_for(std::int64_t count, Body&& body, [[maybe_unused]] std::int64_t grain = 1 << 15) {
#if defined(_OPENMP)
  const int threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), count / grain));
  if (threads > 1) {
#pragma omp parallel num_threads(threads)
    {
      const std::int64_t all = omp_get_num_threads(), me = omp_get_thread_num();
      body(count * me / all, count * (me + 1) / all);
    }
    return;
  }
#endif
  if (count > 0) body(0, count);
}

/// work(row) for rows of `width` elements, in parallel.
template <class Work>
void each_row(std::int64_t rows, std::int64_t width, Work&& work) {
  parallel_for(
      rows,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t row = first; row < last; ++row) work(row);
      },
      std::max<std::int64_t>(1, (1 << 15) / std::max<std::int64_t>(width, 1)));
}

/// Calls body(part) for each part of [0, parts), one to a thread where there are as many.
template <class Body>
void parallel_parts(int parts, Body&& body) {
#if defined(_OPENMP)
#pragma omp parallel for schedule(static, 1) num_threads(parts)
#endif
  for (int part = 0; part < parts; ++part) body(part);
}

}  // namespace epitaxy
