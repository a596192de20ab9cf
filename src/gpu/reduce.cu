// Histograms and permutations by CUB's device-wide algorithms. Integer results, so exact and repeatable whatever the order of adding.
#include <thrust/iterator/transform_iterator.h>
#include <cub/device/device_for.cuh>
#include <cub/device/device_histogram.cuh>
#include <cub/device/device_radix_sort.cuh>

#include "epitaxy/dtype_switch.h"
#include "epitaxy/philox.h"
#include "gpu/check.h"
#include "kernels/reduce.h"

namespace epitaxy {

namespace {

/// The bin of a pixel as CUB's sample: levels 0, 1, ..., bins then need no arithmetic on the values, and -1 lies outside.
template <class T>
struct Bin {
  double low, high, per_unit;
  std::int64_t bins;
  __host__ __device__ int operator()(T x) const { return static_cast<int>(histogram_bin(x, low, high, per_unit, bins)); }
};

cudaError_t histogram_call(const HistogramArgs& args, void* scratch, std::size_t& bytes, cudaStream_t stream) {
  cudaError_t status = cudaSuccess;
  with_pixel(args.dtype, [&]<class T>() {
    const Bin<T> bin{args.low, args.high, static_cast<double>(args.bins) / (static_cast<double>(args.high) - args.low), args.bins};
    const auto samples = thrust::make_transform_iterator(static_cast<const T*>(args.x), bin);
    status = cub::DeviceHistogram::HistogramEven(scratch, bytes, samples, reinterpret_cast<unsigned long long*>(args.counts),
                                                 static_cast<int>(args.bins) + 1, 0, static_cast<int>(args.bins), args.count, stream);
  });
  return status;
}

/// Keys of the items and the items themselves, before sorting.
struct Keys {
  std::uint64_t* keys;
  std::int64_t* items;
  std::uint64_t seed;
  std::uint32_t epoch;
  __device__ void operator()(std::int64_t i) const {
    keys[i] = shuffle_key(seed, epoch, static_cast<std::uint64_t>(i));
    items[i] = i;
  }
};

std::size_t round_up(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

/// scratch: keys, sorted keys, items [count] each, then CUB's own.
std::size_t column_bytes(const PermutationArgs& args) { return round_up(static_cast<std::size_t>(args.count) * sizeof(std::uint64_t)); }

cudaError_t sort_call(const PermutationArgs& args, void* scratch, std::size_t& bytes, cudaStream_t stream) {
  auto* base = static_cast<std::byte*>(args.scratch);
  const std::size_t column = column_bytes(args);
  return cub::DeviceRadixSort::SortPairs(scratch, bytes, reinterpret_cast<const std::uint64_t*>(base),
                                         reinterpret_cast<std::uint64_t*>(base + column),
                                         reinterpret_cast<const std::int64_t*>(base + 2 * column), args.order, args.count, 0, 64, stream);
}

}  // namespace

std::size_t histogram_scratch_bytes(const HistogramArgs& args) {
  std::size_t bytes = 0;
  EPITAXY_CHECK(histogram_call(args, nullptr, bytes, nullptr));
  return bytes;
}

template <>
void histogram<Cuda>(const HistogramArgs& args, Stream stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream.handle);
  if (args.count == 0) {
    EPITAXY_CHECK(cudaMemsetAsync(args.counts, 0, static_cast<std::size_t>(args.bins) * sizeof(std::int64_t), cuda_stream));
    return;
  }
  std::size_t bytes = args.scratch_bytes;
  EPITAXY_CHECK(histogram_call(args, args.scratch, bytes, cuda_stream));
}

std::size_t permutation_scratch_bytes(const PermutationArgs& args) {
  std::size_t bytes = 0;
  EPITAXY_CHECK(sort_call(args, nullptr, bytes, nullptr));
  return 3 * column_bytes(args) + bytes;
}

template <>
void permutation<Cuda>(const PermutationArgs& args, Stream stream) {
  if (args.count == 0) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream.handle);
  auto* base = static_cast<std::byte*>(args.scratch);
  const std::size_t column = column_bytes(args);
  const Keys keys{reinterpret_cast<std::uint64_t*>(base), reinterpret_cast<std::int64_t*>(base + 2 * column), args.seed, args.epoch};
  EPITAXY_CHECK(cub::DeviceFor::Bulk(args.count, keys, cuda_stream));
  std::size_t bytes = args.scratch_bytes - 3 * column;
  EPITAXY_CHECK(sort_call(args, base + 3 * column, bytes, cuda_stream));
}

}  // namespace epitaxy
