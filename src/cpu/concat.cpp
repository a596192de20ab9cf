// Concatenation of rows, whole rows at a time.
#include "kernels/concat.h"

#include <cstring>

#include "cpu/parallel.h"

namespace epitaxy {

template <>
void concat_forward<Host>(const ConcatArgs& args, Stream) {
  const std::int64_t width = args.a_bytes + args.b_bytes;
  each_row(args.rows, width / 4, [&](std::int64_t row) {
    char* y = static_cast<char*>(args.y) + row * width;
    std::memcpy(y, static_cast<const char*>(args.a) + row * args.a_bytes, static_cast<std::size_t>(args.a_bytes));
    std::memcpy(y + args.a_bytes, static_cast<const char*>(args.b) + row * args.b_bytes, static_cast<std::size_t>(args.b_bytes));
  });
}

template <>
void concat_backward<Host>(const ConcatGradientArgs& args, Stream) {
  const std::int64_t width = args.a_bytes + args.b_bytes;
  each_row(args.rows, width / 4, [&](std::int64_t row) {
    const char* dy = static_cast<const char*>(args.dy) + row * width;
    std::memcpy(static_cast<char*>(args.da) + row * args.a_bytes, dy, static_cast<std::size_t>(args.a_bytes));
    std::memcpy(static_cast<char*>(args.db) + row * args.b_bytes, dy + args.a_bytes, static_cast<std::size_t>(args.b_bytes));
  });
}

}  // namespace epitaxy
