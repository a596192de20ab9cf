// Concatenation of rows, whole rows at a time.
#include "kernels/concat.h"

#include <algorithm>
#include <cstring>

#include "cpu/parallel.h"

namespace epitaxy {

namespace {

template <class Body>
void for_each_row(std::int64_t rows, std::int64_t bytes, Body&& body) {
  parallel_for(
      rows,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t row = first; row < last; ++row) body(row);
      },
      std::max<std::int64_t>(1, (1 << 17) / bytes));
}

}  // namespace

template <>
void concat_forward<Host>(const ConcatArgs& args, Stream) {
  const std::int64_t width = args.a_bytes + args.b_bytes;
  for_each_row(args.rows, width, [&](std::int64_t row) {
    char* y = static_cast<char*>(args.y) + row * width;
    std::memcpy(y, static_cast<const char*>(args.a) + row * args.a_bytes, static_cast<std::size_t>(args.a_bytes));
    std::memcpy(y + args.a_bytes, static_cast<const char*>(args.b) + row * args.b_bytes, static_cast<std::size_t>(args.b_bytes));
  });
}

template <>
void concat_backward<Host>(const ConcatGradientArgs& args, Stream) {
  const std::int64_t width = args.a_bytes + args.b_bytes;
  for_each_row(args.rows, width, [&](std::int64_t row) {
    const char* dy = static_cast<const char*>(args.dy) + row * width;
    std::memcpy(static_cast<char*>(args.da) + row * args.a_bytes, dy, static_cast<std::size_t>(args.a_bytes));
    std::memcpy(static_cast<char*>(args.db) + row * args.b_bytes, dy + args.a_bytes, static_cast<std::size_t>(args.b_bytes));
  });
}

}  // namespace epitaxy
