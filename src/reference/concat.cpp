// Concatenation of rows, byte by byte.
#include "kernels/concat.h"

namespace epitaxy {

template <>
void concat_forward<Reference>(const ConcatArgs& args, Stream) {
  const auto* a = static_cast<const unsigned char*>(args.a);
  const auto* b = static_cast<const unsigned char*>(args.b);
  auto* y = static_cast<unsigned char*>(args.y);
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t i = 0; i < args.a_bytes; ++i) *y++ = *a++;
    for (std::int64_t i = 0; i < args.b_bytes; ++i) *y++ = *b++;
  }
}

template <>
void concat_backward<Reference>(const ConcatGradientArgs& args, Stream) {
  const auto* dy = static_cast<const unsigned char*>(args.dy);
  auto* da = static_cast<unsigned char*>(args.da);
  auto* db = static_cast<unsigned char*>(args.db);
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t i = 0; i < args.a_bytes; ++i) *da++ = *dy++;
    for (std::int64_t i = 0; i < args.b_bytes; ++i) *db++ = *dy++;
  }
}

}  // namespace epitaxy
