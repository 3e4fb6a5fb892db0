// The convolution's products in float32: no tensor cores, no TF32.
#pragma once

#include "kernels/cuda/conv2d_tile.h"

namespace wandistill::WD_KERNELS {

/// kRows x 16 outputs of kOuts channels; a thread has kPixels neighbours of a row and kOwn channels, in
/// groups of four. Of each input channel it reads kPixels + kSide - 1 pixels once for a whole row of taps.
template <int kSide, int kRows, int kOuts, int kPixels, int kOwn>
class FloatProduct {
 public:
  static constexpr int kThreads = kRows * 16 / kPixels * (kOuts / kOwn);
  using Tile = ConvTile<float, kSide, kRows, kOuts, kThreads>;
  /// As in TensorProduct.
  static constexpr int kBlocks = kOuts > 32 ? 2 : 4;
  static constexpr int kParts = Tile::kChunk / 4;

  /// As in TensorProduct.
  template <class Between>
  __device__ __forceinline__ void multiply(const float* input, int ky, const float* weights,
                                           Between between) {
    const float* pixels = input + ((row() + ky) * Tile::kHaloColumns + column()) * Tile::kPixelStride;
#pragma unroll 1
    for (int part = 0; part < kParts; ++part) {
      float x[kPixels + kSide - 1][4];
#pragma unroll
      for (int p = 0; p < kPixels + kSide - 1; ++p) load(pixels + p * Tile::kPixelStride + part * 4, x[p]);
#pragma unroll
      for (int kx = 0; kx < kSide; ++kx)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          float w[kGroups][4];
#pragma unroll
          for (int g = 0; g < kGroups; ++g)
            load(weights + (kx * Tile::kChunk + part * 4 + k) * Tile::kOutStride + out(g), w[g]);
#pragma unroll
          for (int p = 0; p < kPixels; ++p)
#pragma unroll
            for (int g = 0; g < kGroups; ++g)
#pragma unroll
              for (int o = 0; o < 4; ++o) sums_[p][g][o] += x[p + kx][k] * w[g][o];
        }
      between(part);
    }
  }

  __device__ __forceinline__ void store(const ConvArguments<float>& a, const ConvOrigin& origin, void*) {
    const int64_t y = origin.row + row();
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const int64_t x = origin.column + column() + p;
      if (y >= a.shape.out_height() || x >= a.shape.out_width()) continue;
#pragma unroll
      for (int g = 0; g < kGroups; ++g)
        store_outputs(a, (y * a.shape.out_width() + x) * a.shape.c_out, origin.out + out(g), sums_[p][g]);
    }
  }

 private:
  static constexpr int kGroups = kOwn / 4, kAcross = kOuts / kOwn, kPerRow = 16 / kPixels;

  static __device__ __forceinline__ int thread() {
    return static_cast<int>(threadIdx.x);
  }
  static __device__ __forceinline__ int row() {
    return thread() / kAcross / kPerRow;
  }
  static __device__ __forceinline__ int column() {
    return thread() / kAcross % kPerRow * kPixels;
  }
  /// Neighbouring threads have neighbouring fours.
  static __device__ __forceinline__ int out(int group) {
    return (group * kAcross + thread() % kAcross) * 4;
  }

  float sums_[kPixels][kGroups][4] = {};
};

}  // namespace wandistill::WD_KERNELS
