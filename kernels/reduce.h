// Launchers of reductions, histograms and permutations, and the tiles that sums over pixels are cut into.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/host_device.h"

namespace epitaxy {

/// [pixels, channels] cut into tiles along the pixels, by the count of pixels alone: the same partial sums on every device. Tile t
/// holds [t * size, min((t + 1) * size, pixels)); none is empty. At least 128 pixels a tile, at most 1024 tiles.
struct PixelTiles {
  std::int64_t tiles, size;
};
inline PixelTiles pixel_tiles(std::int64_t pixels) {
  const std::int64_t least = std::max<std::int64_t>(128, (pixels + 1023) / 1024);
  const std::int64_t tiles = std::max<std::int64_t>(1, (pixels + least - 1) / least);
  return {tiles, (pixels + tiles - 1) / tiles};
}

struct ChannelSumArgs {
  const void* x;    // [pixels, channels]
  float* sum;       // [channels]
  float* partials;  // [tiles, channels]
  std::int64_t pixels, channels;
  DType dtype;
};

template <class World>
void channel_sum(const ChannelSumArgs& args, Stream stream);

/// The bin of x, or -1: floor((x - low) * per_unit) in double, with high itself in the last bin. per_unit = bins / (high - low).
EPITAXY_HOST_DEVICE inline std::int64_t histogram_bin(double x, double low, double high, double per_unit, std::int64_t bins) {
  if (!(x >= low && x <= high)) return -1;
  const std::int64_t bin = static_cast<std::int64_t>((x - low) * per_unit);
  return bin < bins ? bin : bins - 1;
}

struct HistogramArgs {
  const void* x;         // [count] uint8, uint16 or fp32
  std::int64_t* counts;  // [bins]
  void* scratch;         // histogram_scratch_bytes, on CUDA
  std::size_t scratch_bytes;
  std::int64_t count, bins;
  float low, high;
  DType dtype;
};

struct PermutationArgs {
  std::int64_t* order;  // [count]
  void* scratch;        // permutation_scratch_bytes, on CUDA
  std::size_t scratch_bytes;
  std::int64_t count;
  std::uint64_t seed;
  std::uint32_t epoch;
};

// Device-wide library algorithms: Cuda (CUB, src/gpu/reduce.cu) and Reference.
template <class World>
void histogram(const HistogramArgs& args, Stream stream);
template <class World>
void permutation(const PermutationArgs& args, Stream stream);
std::size_t histogram_scratch_bytes(const HistogramArgs& args);      // on CUDA
std::size_t permutation_scratch_bytes(const PermutationArgs& args);  // on CUDA

}  // namespace epitaxy
