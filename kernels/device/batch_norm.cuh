// What the backward kernels of batch normalisation share, with and without pooling: how sums are stored, and the constants of dx.
#pragma once

#include "kernels/device/channel_tiles.cuh"

namespace epitaxy::EPITAXY_WORLD {

/// A block's tile of partials [tiles, 2, channels], by its first row of threads: sums[0], of g * (x - mean), becomes that of g * xhat.
template <int N>
__device__ __forceinline__ void store_sums(float* partials, float (&sums)[2][N], const float* inverse_std, const ChannelPlace& place,
                                           std::int64_t channels) {
  if (!place.active || place.row != 0) return;
  float scale[N];
  load_floats(scale, inverse_std + place.channel);
#pragma unroll
  for (int i = 0; i < N; ++i) sums[0][i] *= scale[i];
  float* tile = partials + 2 * blockIdx.x * channels + place.channel;
  store_floats(tile, sums[0]);
  store_floats(tile + channels, sums[1]);
}

/// dx = gamma * inverse_std * (g - offset - (x - mean) * slope) when training: the batch's share of the gradient.
template <int N>
__device__ __forceinline__ void load_shares(float (&offset)[N], float (&slope)[N], const float* inverse_std, const float* dgamma,
                                            const float* dbeta, std::int64_t pixels, std::int64_t channel) {
  const float share = 1.0f / static_cast<float>(pixels);
  load_floats(slope, inverse_std + channel);
  load_floats(offset, dgamma + channel);
#pragma unroll
  for (int i = 0; i < N; ++i) slope[i] *= offset[i] * share;
  load_floats(offset, dbeta + channel);
#pragma unroll
  for (int i = 0; i < N; ++i) offset[i] *= share;
}

}  // namespace epitaxy::EPITAXY_WORLD
