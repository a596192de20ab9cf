// Inverted dropout: Philox for 64 blocks side by side, so that its rounds are vector instructions.
#include "kernels/dropout.h"

#include "cpu/parallel.h"
#include "epitaxy/dtype_switch.h"
#include "epitaxy/philox.h"

namespace epitaxy {

namespace {

constexpr std::int64_t kBlocks = 64;  // Philox blocks drawn at once
constexpr std::int64_t kElements = 4 * kBlocks;

/// keep[i] = 1 where element first + i is kept. philox() of kBlocks counters at once, a round at a time.
void draw(const DropoutArgs& args, std::uint32_t threshold, std::uint32_t step, std::int64_t first, std::uint8_t (&keep)[kElements]) {
  std::uint32_t x[kBlocks], y[kBlocks], z[kBlocks], w[kBlocks];
  const std::uint64_t block = static_cast<std::uint64_t>(first) / 4;
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    x[i] = static_cast<std::uint32_t>(block + i);
    y[i] = static_cast<std::uint32_t>((block + i) >> 32);
    z[i] = (args.ordinal << 8) | static_cast<std::uint32_t>(RandomPurpose::dropout);
    w[i] = step;
  }
  std::uint32_t k0 = static_cast<std::uint32_t>(args.seed), k1 = static_cast<std::uint32_t>(args.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (std::int64_t i = 0; i < kBlocks; ++i) {
      const std::uint64_t a = static_cast<std::uint64_t>(0xD2511F53u) * x[i], b = static_cast<std::uint64_t>(0xCD9E8D57u) * z[i];
      x[i] = static_cast<std::uint32_t>(b >> 32) ^ y[i] ^ k0;
      y[i] = static_cast<std::uint32_t>(b);
      z[i] = static_cast<std::uint32_t>(a >> 32) ^ w[i] ^ k1;
      w[i] = static_cast<std::uint32_t>(a);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (std::int64_t i = 0; i < kBlocks; ++i) {
    keep[4 * i] = (x[i] >> 8) >= threshold;
    keep[4 * i + 1] = (y[i] >> 8) >= threshold;
    keep[4 * i + 2] = (z[i] >> 8) >= threshold;
    keep[4 * i + 3] = (w[i] >> 8) >= threshold;
  }
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
    parallel_for(
        chunks,
        [&](std::int64_t first, std::int64_t last) {
          std::uint8_t keep[kElements];
          for (std::int64_t chunk = first; chunk < last; ++chunk) {
            const std::int64_t begin = chunk * kElements, count = std::min(kElements, args.count - begin);
            draw(args, threshold, step, begin, keep);
            const T* from = x + begin;
            T* to = y + begin;  // may be `from` itself
#pragma GCC ivdep
            for (std::int64_t i = 0; i < count; ++i) {
              const float v = to_float(from[i]) * scale;
              to[i] = round<T>(keep[i] ? v : 0.0f);
            }
          }
        },
        16);
  });
}

}  // namespace epitaxy
