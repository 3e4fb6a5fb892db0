// The VAE's norm of one pixel's channels.
#pragma once

#include <cmath>

#include "kernels/cuda/reduce.h"
#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {

/// sqrt(C) / max(||x||, 1e-12), x [C] in groups of N; by all lanes of a warp, in all of them.
template <int N, class T>
__device__ __forceinline__ float pixel_scale(const T* x, int64_t channels) {
  float squares = 0;
  for (int64_t c = static_cast<int64_t>(threadIdx.x % 32) * N; c < channels; c += 32 * N) {
    float v[N];
    load(x + c, v);
#pragma unroll
    for (int k = 0; k < N; ++k) squares += v[k] * v[k];
  }
  return sqrtf(static_cast<float>(channels)) / fmaxf(sqrtf(warp_sum(squares)), 1e-12f);
}

__device__ __forceinline__ float silu_of(float x) {
  return __fdividef(x, 1 + __expf(-x));
}

}  // namespace wandistill::WD_KERNELS
