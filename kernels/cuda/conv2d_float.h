// Convolution in float32 (no tensor cores, no TF32): a thread has 8 neighbouring outputs of 4 channels.
#pragma once

#include "kernels/cuda/conv2d_tile.h"

namespace wandistill::WD_KERNELS {

constexpr int kFloatConvChannels = 32, kFloatConvChunk = 8;

template <int kKernel, bool kUpsample>
__global__ void __launch_bounds__(kConvThreads)
    conv2d_float_kernel(const Conv2dShape shape, const ConvInput<float> input,
                        const float* __restrict__ weight, const float* __restrict__ bias,
                        const float* residual, float* y) {
  using Tile = ConvTile<kKernel, kUpsample>;
  constexpr int kSide = Tile::kSide, kTaps = kKernel * kKernel;
  WD_SHARED(float, tile, [kSide * kSide][kFloatConvChunk + 1]);
  WD_SHARED(float, weights, [kTaps][kFloatConvChunk][kFloatConvChannels]);
  const int thread = static_cast<int>(threadIdx.x);
  const int own = thread % 8 * 4, row = thread / 16, left = thread / 8 % 2 * 8;  // channels; outputs
  const int64_t out_w = shape.out_width(), out_h = shape.out_height();
  const int64_t first_row = int64_t{blockIdx.y} * kConvTile, first_column = int64_t{blockIdx.x} * kConvTile;
  const int64_t first_out = int64_t{blockIdx.z} * kFloatConvChannels;
  float sums[8][4] = {};
  for (int64_t channel = 0; channel < shape.c_in; channel += kFloatConvChunk) {
    __syncthreads();
    for (int i = thread; i < kSide * kSide * kFloatConvChunk; i += kConvThreads) {
      const int pixel = i / kFloatConvChunk, c = i % kFloatConvChunk;
      float v[1];
      input.read(Tile::origin(first_row) + pixel / kSide, Tile::origin(first_column) + pixel % kSide,
                 channel + c, v);
      tile[pixel][c] = v[0];
    }
    for (int i = thread; i < kTaps * kFloatConvChunk * kFloatConvChannels; i += kConvThreads) {
      const int tap = i / (kFloatConvChunk * kFloatConvChannels),
                c = i / kFloatConvChannels % kFloatConvChunk, o = i % kFloatConvChannels;
      weights[tap][c][o] = channel + c < shape.c_in && first_out + o < shape.c_out
                               ? weight[(tap * shape.c_in + channel + c) * shape.c_out + first_out + o]
                               : 0;
    }
    __syncthreads();
#pragma unroll 1
    for (int tap = 0; tap < kTaps; ++tap)
#pragma unroll
      for (int c = 0; c < kFloatConvChunk; ++c) {
        float w[4];
#pragma unroll
        for (int o = 0; o < 4; ++o) w[o] = weights[tap][c][own + o];
#pragma unroll
        for (int p = 0; p < 8; ++p) {
          const float v = tile[Tile::at(row, tap / kKernel) * kSide + Tile::at(left + p, tap % kKernel)][c];
#pragma unroll
          for (int o = 0; o < 4; ++o) sums[p][o] += v * w[o];
        }
      }
  }
  for (int p = 0; p < 8; ++p) {
    const int64_t out_row = first_row + row, out_column = first_column + left + p;
    if (out_row >= out_h || out_column >= out_w) continue;
    for (int o = 0; o < 4; ++o) {
      const int64_t channel = first_out + own + o;
      if (channel >= shape.c_out) continue;
      const int64_t at = (out_row * out_w + out_column) * shape.c_out + channel;
      y[at] = sums[p][o] + bias[channel] + (residual != nullptr ? residual[at] : 0);
    }
  }
}

}  // namespace wandistill::WD_KERNELS
