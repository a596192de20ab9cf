// What the input gradient goes on to before it is stored: another gradient added, the ReLU closed that x came from, and the sums that batch
// normalisation's backward pass starts from.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/conv2d_paths.h"
#include "kernels/device/vector.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// Tensors are [pixels, channels] like dx; null: none.
struct ConvGradient {
  const float* bias;                               // of a transposed convolution, [channels]; added
  const void* other;                               // added
  const void* output;                              // of the ReLU
  const std::uint8_t* bits;                        // of the ReLU, [pixels, mask_bytes(channels)]
  const void* normalised;                          // what batch normalisation read, for the mask or the sums
  const float *mean, *inverse_std, *gamma, *beta;  // gamma, beta: where the mask is recomputed
  float* partials;                                 // [tiles of 128 pixels, 2, channels], where the kernel's own tiles are these
  int channels;                                    // 0: nothing to do
};

/// `adds`: bias and the other gradient too.
inline ConvGradient conv_gradient(const Conv2dArgs& args, bool adds = true) {
  const Conv2dProblem& d = args.problem;
  ConvGradient e{};
  const bool recomputed = d.mask == ReluMask::recomputed;
  if (adds && d.bias) e.bias = args.bias;
  if (adds && d.residual) e.other = args.residual;
  if (d.mask == ReluMask::output) e.output = args.mask;
  if (d.mask == ReluMask::bits) e.bits = static_cast<const std::uint8_t*>(args.mask);
  if (d.statistics && computes_statistics(args.pass, d, args.plan)) e.partials = args.statistics;
  if (e.partials || recomputed) e.normalised = args.normalised, e.mean = args.mean, e.inverse_std = args.inverse_std;
  if (recomputed) e.gamma = args.gamma, e.beta = args.beta;
  if (e.bias || e.other || e.normalised || d.mask != ReluMask::none) e.channels = static_cast<int>(d.c);
  return e;
}

/// N neighbouring channels of one pixel, the first `valid` of them; kWhole: all, at an aligned address.
template <bool kWhole, class T, int N>
__device__ __forceinline__ void load_channels(float (&values)[N], const T* from, int valid) {
  if constexpr (kWhole)
    load_floats<T, N>(values, from);
  else
    load_vector<N>(from, values, valid);
}

/// Bit i: whether the ReLU was open at channel i of N, by batch_norm_apply's mask.
template <bool kWhole, int N>
__device__ __forceinline__ unsigned load_mask(const std::uint8_t* pixel, int channel, int valid) {
  const int shift = channel % 8;
  unsigned bits = static_cast<unsigned>(pixel[channel / 8]) >> shift;
  if (!kWhole && shift + N > 8 && shift + valid > 8) bits |= static_cast<unsigned>(pixel[channel / 8 + 1]) << (8 - shift);
  return bits;
}

/// values, N neighbouring channels of a pixel, become what is stored, rounded to T. sums[0] gains their product with v - mean, sums[1]
/// they.
template <bool kWhole, class T, int N>
__device__ __forceinline__ void finish_gradient(const ConvGradient& e, std::int64_t pixel, int channel, int valid, float (&values)[N],
                                                float (&sums)[2][N]) {
  const std::int64_t at = pixel * e.channels + channel;
  const auto read = [&](float(&to)[N], const void* from) { load_channels<kWhole>(to, static_cast<const T*>(from) + at, valid); };
  float given[N];
  unsigned open = ~0u;
  if (e.bias) {
    load_channels<kWhole>(given, e.bias + channel, valid);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] += given[i];
  }
  if (e.other) {
    read(given, e.other);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] += given[i];
  }
  if (e.output) {
    read(given, e.output);
#pragma unroll
    for (int i = 0; i < N; ++i) open &= given[i] > 0.0f ? ~0u : ~(1u << i);
  }
  if (e.bits) open &= load_mask<kWhole, N>(e.bits + pixel * mask_bytes(e.channels), channel, valid);
  const auto mask_and_round = [&] {
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = open >> i & 1u ? load_float(store_float<T>(values[i])) : 0.0f;
  };
  if (!e.normalised) return mask_and_round();
  float mean[N];
  read(given, e.normalised);
  load_channels<kWhole>(mean, e.mean + channel, valid);
  if (e.gamma) {
    float scale[N], other[N];
    load_channels<kWhole>(scale, e.inverse_std + channel, valid);
    load_channels<kWhole>(other, e.gamma + channel, valid);
#pragma unroll
    for (int i = 0; i < N; ++i) scale[i] *= other[i];
    load_channels<kWhole>(other, e.beta + channel, valid);
#pragma unroll
    for (int i = 0; i < N; ++i) open &= rounds_above_zero<T>(batch_norm_value(given[i], mean[i], scale[i], other[i])) ? ~0u : ~(1u << i);
  }
  mask_and_round();
#pragma unroll
  for (int i = 0; i < N; ++i) sums[0][i] = multiply_add(values[i], given[i] - mean[i], sums[0][i]), sums[1][i] += values[i];
}

}  // namespace epitaxy::EPITAXY_WORLD
