// Launcher of the conversion of detector images: y = (x - mean) * scale per channel.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

struct ConvertImageArgs {
  const void* x;       // [pixels, channels] uint8, uint16 or fp32
  const float* mean;   // [channels]
  const float* scale;  // [channels]
  void* y;             // [pixels, channels] of type `to`
  std::int64_t pixels, channels;
  DType from, to;
};

template <class World>
void convert_image_forward(const ConvertImageArgs& args, Stream stream);

}  // namespace epitaxy
