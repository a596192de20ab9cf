// Conversion of detector images, vectorised and threaded.
#include "kernels/convert_image.h"

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

/// Few channels are repeated to fill a period of about this many elements, so that the inner loop is long.
constexpr std::int64_t kPeriod = 256;

template <class From, class To>
void convert(const From* x, To* y, const float* mean, const float* scale, std::int64_t period, std::int64_t first, std::int64_t last) {
  for (std::int64_t i = first; i < last;) {
    const std::int64_t offset = i % period, stop = std::min(last, i - offset + period);
    const float* m = mean + offset;
    const float* s = scale + offset;
    const From* from = x + i;
    To* to = y + i;
    for (std::int64_t j = 0; j < stop - i; ++j) to[j] = round<To>((static_cast<float>(from[j]) - m[j]) * s[j]);
    i = stop;
  }
}

}  // namespace

template <>
void convert_image_forward<Host>(const ConvertImageArgs& args, Stream) {
  with_pixel(args.from, [&]<class From>() {
    with_float(args.to, [&]<class To>() {
      const From* x = static_cast<const From*>(args.x);
      To* y = static_cast<To*>(args.y);
      parallel_for(args.pixels * args.channels, [=, &args](std::int64_t first, std::int64_t last) {
        if (args.channels >= kPeriod) return convert(x, y, args.mean, args.scale, args.channels, first, last);
        float mean[kPeriod], scale[kPeriod];
        const std::int64_t period = kPeriod / args.channels * args.channels;
        for (std::int64_t i = 0; i < period; ++i) {
          mean[i] = args.mean[i % args.channels];
          scale[i] = args.scale[i % args.channels];
        }
        convert(x, y, mean, scale, period, first, last);
      });
    });
  });
}

}  // namespace epitaxy
