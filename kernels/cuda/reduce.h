// Sums over warps and blocks, for kernels.
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

/// The sum over the warp's 32 lanes, in every lane, of the same bits in all.
__device__ __forceinline__ float warp_sum(float value) {
  for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
  return value;
}

/// The sum over a block of kThreads threads (a multiple of 32), in every thread. partial: shared memory,
/// which may be used again at once.
template <int kThreads>
__device__ __forceinline__ float block_sum(float value, float (&partial)[kThreads / 32]) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += partial[warp];
  __syncthreads();
  return sum;
}

}  // namespace wandistill::WD_KERNELS
