// The part of a picture that a block's outputs need, in shared memory, for the convolution kernels.
#pragma once

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pixel_norm.h"
#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {

constexpr int kConvTile = 16;  // outputs per block, in each direction
constexpr int kConvThreads = 256;

/// The inputs of a tile of outputs: kSide x kSide pixels, with the halo that kKernel taps reach. With
/// kUpsample these are pixels of the picture before it is doubled: output rows 2 r and 2 r + 1 read around
/// source row r.
template <int kKernel, bool kUpsample>
struct ConvTile {
  static constexpr int kReach = kKernel / 2;
  static constexpr int kSide = kUpsample ? kConvTile / 2 + 2 : kConvTile + 2 * kReach;

  /// The tile's first pixel in the source picture, from that of the outputs (a multiple of 16).
  static __device__ __forceinline__ int64_t origin(int64_t output) {
    return kUpsample ? output / 2 - 1 : output - kReach;
  }
  /// The tile's row (or column) that output `output` of the tile reads with tap `tap`.
  static __device__ __forceinline__ int at(int output, int tap) {
    return kUpsample ? (output + tap + 1) / 2 : output + tap;
  }
};

/// How a picture is read: scale [pixels] and gamma [c_in] make it pass through the RMS norm and SiLU first;
/// null: as it is.
template <class T>
struct ConvInput {
  const T* x;
  int64_t height, width, channels;
  const float* scale;
  const T* gamma;

  /// The values of channels [channel, channel + N) of a pixel, zeros outside of the picture and behind the
  /// last channel.
  template <int N>
  __device__ __forceinline__ void read(int64_t row, int64_t column, int64_t channel, float (&v)[N]) const {
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = 0;
    if (row < 0 || row >= height || column < 0 || column >= width || channel >= channels) return;
    const int64_t pixel = row * width + column;
    load(x + pixel * channels + channel, v);
    if (gamma == nullptr) return;
    float g[N];
    load(gamma + channel, g);
    const float s = scale[pixel];
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = silu_of(v[k] * s * g[k]);
  }
};

/// scale [pixels]: pixel_scale of every pixel. A warp each.
template <class T, int N>
__global__ void __launch_bounds__(kConvThreads)
    conv2d_scales_kernel(int64_t pixels, int64_t channels, const T* __restrict__ x,
                         float* __restrict__ scale) {
  constexpr int kWarps = kConvThreads / 32;
  const int64_t step = int64_t{gridDim.x} * kWarps;
  for (int64_t pixel = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; pixel < pixels; pixel += step) {
    const float s = pixel_scale<N>(x + pixel * channels, channels);
    if (threadIdx.x % 32 == 0) scale[pixel] = s;
  }
}

}  // namespace wandistill::WD_KERNELS
