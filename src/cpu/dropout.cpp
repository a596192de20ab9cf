// Inverted dropout: Philox for 64 blocks side by side, so that its rounds are vector instructions.
#include "kernels/dropout.h"

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"
#include "epitaxy/philox.h"

namespace epitaxy {

namespace {

constexpr std::int64_t kBlocks = 64;            // Philox blocks drawn at once
constexpr std::int64_t kElements = 4 * kBlocks;

/// keep[i] = 1 where element first + i is kept.
void draw(const DropoutArgs& args, std::uint32_t threshold, std::uint32_t step, std::int64_t first, std::uint8_t (&keep)[kElements]) {
  std::uint32_t words[4][kBlocks];
  const std::uint64_t block = static_cast<std::uint64_t>(first) / 4;
  for (std::int64_t i = 0; i < kBlocks; ++i) {
    const Philox4 four = philox(args.seed, block + static_cast<std::uint64_t>(i), args.ordinal, RandomPurpose::dropout, step);
    words[0][i] = four.x, words[1][i] = four.y, words[2][i] = four.z, words[3][i] = four.w;
  }
  for (std::int64_t i = 0; i < kBlocks; ++i)
    for (std::int64_t j = 0; j < 4; ++j) keep[4 * i + j] = (words[j][i] >> 8) >= threshold;
}

}  // namespace

template <>
void dropout_forward<Host>(const DropoutArgs& args, Stream) {
  const std::uint32_t threshold = dropout_threshold(args.rate), step = static_cast<std::uint32_t>(*args.step);
  const float scale = 1.0f / (1.0f - args.rate);
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    T* y = static_cast<T*>(args.y);
    const std::int64_t chunks = (args.count + kElements - 1) / kElements;
    parallel_for(chunks, [&](std::int64_t first, std::int64_t last) {
      std::uint8_t keep[kElements];
      for (std::int64_t chunk = first; chunk < last; ++chunk) {
        const std::int64_t begin = chunk * kElements, count = std::min(kElements, args.count - begin);
        draw(args, threshold, step, begin, keep);
        for (std::int64_t i = 0; i < count; ++i) y[begin + i] = round<T>(keep[i] ? to_float(x[begin + i]) * scale : 0.0f);
      }
    }, 16);
  });
}

}  // namespace epitaxy
