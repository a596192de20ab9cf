// Conversion of detector images in double.
#include "kernels/convert_image.h"

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

template <>
void convert_image_forward<Reference>(const ConvertImageArgs& args, Stream) {
  with_pixel(args.from, [&]<class From>() {
    with_float(args.to, [&]<class To>() {
      const From* x = static_cast<const From*>(args.x);
      To* y = static_cast<To*>(args.y);
      for (std::int64_t p = 0; p < args.pixels; ++p)
        for (std::int64_t c = 0; c < args.channels; ++c) {
          const std::int64_t i = p * args.channels + c;
          y[i] = round<To>(static_cast<float>((static_cast<double>(x[i]) - args.mean[c]) * args.scale[c]));
        }
    });
  });
}

}  // namespace epitaxy
