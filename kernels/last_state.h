// Launchers of last_state: the last states of a recurrent network's last layer, directions side by side.
#pragma once

#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"

namespace epitaxy {

struct LastStateArgs {
  const void* x;  // forward: h_n [layers * directions, batch, size]; backward: dy [batch, directions * size]
  void* y;        // forward: [batch, directions * size]; backward: dh_n
  std::int64_t layers, directions, batch, size;
  DType dtype;
};

template <class World>
void last_state_forward(const LastStateArgs& args, Stream stream);
template <class World>
void last_state_backward(const LastStateArgs& args, Stream stream);

}  // namespace epitaxy
