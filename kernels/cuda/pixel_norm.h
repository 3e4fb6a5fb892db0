// The VAE's norm of a pixel's channels (ops/rms_norm_silu.h), by eight lanes.
#pragma once

#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {

constexpr int kPixelLanes = 8;

/// sqrt(C) / max(||x||, 1e-12), in all of the pixel's eight lanes; x [C], C a multiple of N. All lanes of the
/// warp must come; those with channels 0 get anything.
template <int N, class T>
__device__ __forceinline__ float pixel_scale(const T* x, int64_t channels) {
  float squares = 0;
#pragma unroll 4
  for (int64_t c = static_cast<int64_t>(threadIdx.x) % kPixelLanes * N; c < channels; c += kPixelLanes * N) {
    float v[N];
    load(x + c, v);
#pragma unroll
    for (int k = 0; k < N; ++k) squares += v[k] * v[k];
  }
#pragma unroll
  for (int bits = kPixelLanes / 2; bits > 0; bits /= 2) squares += __shfl_xor_sync(~0u, squares, bits);
  const float norm = sqrtf(squares);
  return sqrtf(static_cast<float>(channels)) / (norm < 1e-12f ? 1e-12f : norm);  // NaN stays NaN
}

__device__ __forceinline__ float silu_of(float x) {
  return __fdividef(x, 1.0f + __expf(-x));
}

/// Blocks of `threads` for one pass over the pixels, but no more than a large GPU needs.
inline unsigned pixel_blocks(int64_t pixels, int threads) {
  constexpr int64_t kMostBlocks = 2048;
  const int64_t per_block = threads / kPixelLanes, blocks = (pixels + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

/// Calls body(pixel, its channels); in the last round lanes without a pixel come with 0 channels, so that
/// warps stay whole.
template <class Body>
__device__ __forceinline__ void for_each_pixel(int64_t pixels, int64_t channels, Body body) {
  const int64_t per_block = blockDim.x / kPixelLanes, step = int64_t{gridDim.x} * per_block;
  const int64_t in_block = threadIdx.x / kPixelLanes;
  for (int64_t first = int64_t{blockIdx.x} * per_block; first < pixels; first += step) {
    const int64_t pixel = first + in_block;
    body(pixel, pixel < pixels ? channels : 0);
  }
}

}  // namespace wandistill::WD_KERNELS
