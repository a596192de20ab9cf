// Reductions in double, histograms and permutations by plain loops.
#include "kernels/reduce.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "epitaxy/dtype_switch.h"
#include "epitaxy/philox.h"

namespace epitaxy {

template <>
void channel_sum<Reference>(const ChannelSumArgs& args, Stream) {
  with_float(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    for (std::int64_t c = 0; c < args.channels; ++c) {
      double sum = 0;
      for (std::int64_t p = 0; p < args.pixels; ++p) sum += to_float(x[p * args.channels + c]);
      args.sum[c] = static_cast<float>(sum);
    }
  });
}

template <>
void histogram<Reference>(const HistogramArgs& args, Stream) {
  const double low = args.low, high = args.high, per_unit = static_cast<double>(args.bins) / (high - low);
  std::fill(args.counts, args.counts + args.bins, 0);
  with_pixel(args.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    for (std::int64_t i = 0; i < args.count; ++i) {
      const std::int64_t bin = histogram_bin(x[i], low, high, per_unit, args.bins);
      if (bin >= 0) ++args.counts[bin];
    }
  });
}

template <>
void permutation<Reference>(const PermutationArgs& args, Stream) {
  std::vector<std::uint64_t> keys(static_cast<std::size_t>(args.count));
  for (std::int64_t i = 0; i < args.count; ++i)
    keys[static_cast<std::size_t>(i)] = shuffle_key(args.seed, args.epoch, static_cast<std::uint64_t>(i));
  std::iota(args.order, args.order + args.count, 0);
  std::stable_sort(args.order, args.order + args.count,
                   [&](std::int64_t a, std::int64_t b) { return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)]; });
}

}  // namespace epitaxy
