// Sums over warps and blocks, for kernels.
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

/// The sum over the warp's 32 lanes, in every lane, of the same bits in all.
template <class Number>
__device__ __forceinline__ Number warp_sum(Number value) {
  for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
  return value;
}

/// The sum over a block of kThreads threads (a multiple of 32), in every thread. partial: shared memory,
/// which may be used again at once.
template <int kThreads, class Number>
__device__ __forceinline__ Number block_sum(Number value, Number (&partial)[kThreads / 32]) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  Number sum = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += partial[warp];
  __syncthreads();
  return sum;
}

/// results [gridDim.x]: each the sum of its `count` partial sums, partial [gridDim.x, count], in an order
/// that depends on count alone. The second stage of sums over many blocks.
template <int kThreads, class Number>
__global__ void __launch_bounds__(kThreads)
    sum_partials_kernel(int64_t count, const Number* __restrict__ partial, Number* __restrict__ results) {
  WD_SHARED(Number, of_warps, [kThreads / 32]);
  Number sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += partial[blockIdx.x * count + i];
  sum = block_sum<kThreads>(sum, of_warps);
  if (threadIdx.x == 0) results[blockIdx.x] = sum;
}

}  // namespace wandistill::WD_KERNELS
