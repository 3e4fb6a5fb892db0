// Attention with tiles in shared memory and shuffles, in float32: a subject for the tests, no product code. 4
// warps, each 4 query rows; 32 keys per tile, one per lane.
#include <cmath>

#include "kernels/simt/device.h"
#include "tests/simt/test_kernels.h"

namespace wandistill::WD_KERNELS {
namespace {

using simt_test::Fault;
constexpr int kDim = 64, kKeys = 32, kRows = 16, kRowsPerWarp = 4, kThreads = 128;

__device__ __forceinline__ float warp_max(float value) {
  for (int bits = 16; bits > 0; bits /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, bits));
  return value;
}
__device__ __forceinline__ float warp_sum(float value) {
  for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
  return value;
}

__global__ void __launch_bounds__(kThreads)
    attention_tiles_kernel(Fault fault, int tokens, const float* __restrict__ q, const float* __restrict__ k,
                           const float* __restrict__ v, float* __restrict__ out, float* __restrict__ lse) {
  WD_SHARED(float, tile_q, [kRows][kDim]);
  WD_SHARED(float, tile_k, [kKeys][kDim + 1]);
  WD_SHARED(float, tile_v, [kKeys][kDim]);
  WD_SHARED(float, weights, [4][kKeys]);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int first = static_cast<int>(blockIdx.x) * kRows, head = static_cast<int>(blockIdx.y);
  const int64_t base = int64_t{head} * tokens * kDim;
  for (int i = thread; i < kRows * kDim; i += kThreads) {
    const int row = first + i / kDim;
    tile_q[i / kDim][i % kDim] = row < tokens ? q[base + int64_t{row} * kDim + i % kDim] * 0.125f : 0.0f;
  }
  float sums[kRowsPerWarp][kDim / 32] = {}, maximum[kRowsPerWarp], total[kRowsPerWarp] = {};
  for (float& m : maximum) m = -INFINITY;
  for (int from = 0; from < tokens; from += kKeys) {
    if (fault != Fault::kNoBarrierBeforeRefill) __syncthreads();
    for (int i = thread; i < kKeys * kDim; i += kThreads) {
      const int row = from + i / kDim;
      const bool valid = row < tokens || fault == Fault::kRaggedRead;
      const int64_t at = base + int64_t{row} * kDim + i % kDim;
      tile_k[i / kDim][i % kDim] = valid ? k[at] : 0.0f;
      tile_v[i / kDim][i % kDim] = valid ? v[at] : 0.0f;
    }
    __syncthreads();
    for (int r = 0; r < kRowsPerWarp; ++r) {
      const int row = warp * kRowsPerWarp + r;
      float score = 0;
      for (int d = 0; d < kDim; ++d) score += tile_q[row][d] * tile_k[lane][d];
      if (from + lane >= tokens) score = -INFINITY;
      const float largest = fmaxf(maximum[r], warp_max(score));
      const float weight = __expf(score - largest), rescale = __expf(maximum[r] - largest);
      total[r] = total[r] * rescale + warp_sum(weight);
      maximum[r] = largest;
      weights[fault == Fault::kSharedIndex ? warp + 1 : warp][lane] = weight;
      if (fault != Fault::kNoSyncwarp) __syncwarp();
      for (int c = 0; c < kDim / 32; ++c) {
        sums[r][c] *= rescale;
        for (int j = 0; j < kKeys; ++j) sums[r][c] += weights[warp][j] * tile_v[j][c * 32 + lane];
      }
      __syncwarp();
    }
  }
  for (int r = 0; r < kRowsPerWarp; ++r) {
    const int row = first + warp * kRowsPerWarp + r;
    if (row >= tokens) continue;
    for (int c = 0; c < kDim / 32; ++c)
      out[base + int64_t{row} * kDim + c * 32 + lane] = sums[r][c] / total[r];
    if (lane == 0) lse[int64_t{head} * tokens + row] = maximum[r] + __logf(total[r]);
  }
}

}  // namespace

void attention_tiles(Fault fault, int heads, int tokens, const float* q, const float* k, const float* v,
                     float* out, float* lse, const Queue& queue) {
  const dim3 grid(static_cast<unsigned>(tokens + kRows - 1) / kRows, static_cast<unsigned>(heads));
  launch(queue, grid, kThreads, 0, attention_tiles_kernel, fault, tokens, q, k, v, out, lse);
}

}  // namespace wandistill::WD_KERNELS
