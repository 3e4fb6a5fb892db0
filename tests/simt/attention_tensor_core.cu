// Attention with cp.async double buffers, ldmatrix and mma.sync, in bf16: a subject for the tests, no product
// code. 4 warps, each 16 query rows; 64 keys per tile.
#include <cmath>

#include "kernels/simt/device.h"
#include "tests/simt/test_kernels.h"

namespace wandistill::WD_KERNELS {
namespace {

using simt_test::Fault;
constexpr int kDim = 64, kRows = 64, kKeys = 64, kStride = kDim + 8, kThreads = 128;
constexpr int kTile = kKeys * kStride;                             // elements of a tile in shared memory
constexpr size_t kSharedBytes = 5 * size_t{kTile} * sizeof(bf16);  // q, two of k, two of v

/// Rows [from, from + 64) of a tensor [tokens, 64]; zeros behind the last.
__device__ __forceinline__ void fetch_tile(bf16* tile, const bf16* tensor, int from, int tokens) {
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * kDim / 8; i += kThreads) {
    const int row = i / (kDim / 8), column = i % (kDim / 8) * 8;
    const bool valid = from + row < tokens;
    cp_async16(tile + row * kStride + column, tensor + int64_t{valid ? from + row : 0} * kDim + column,
               valid);
  }
}

/// The running softmax of the two rows that a lane has a part of, and their weighted sums of v.
struct Accumulator {
  float sums[kDim / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY};
  float total[2] = {};
};

/// scores [16 rows, 64 keys] of this warp, as fragments of c.
__device__ __forceinline__ void multiply_keys(float (&scores)[kKeys / 8][4],
                                              const uint32_t (&q)[kDim / 16][4], const bf16* tile_k) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d)
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      uint32_t b[4];
      ldmatrix_x4(b, tile_k + (n * 16 + lane / 16 * 8 + lane % 8) * kStride + d * 16 + lane / 8 % 2 * 8);
      mma_m16n8k16<bf16>(scores[2 * n], q[d], b[0], b[1]);
      mma_m16n8k16<bf16>(scores[2 * n + 1], q[d], b[2], b[3]);
    }
}

/// Scores become weights; the accumulator is rescaled to the new maximum.
__device__ __forceinline__ void softmax_step(float (&scores)[kKeys / 8][4], Accumulator& acc, int keys_left) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float largest[2] = {acc.maximum[0], acc.maximum[1]}, sum[2] = {}, rescale[2];
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
    for (int e = 0; e < 4; ++e) {
      const bool valid = n * 8 + lane % 4 * 2 + e % 2 < keys_left;
      scores[n][e] = valid ? scores[n][e] * 0.125f : -INFINITY;
      largest[e / 2] = fmaxf(largest[e / 2], scores[n][e]);
    }
  for (int r = 0; r < 2; ++r) {
    for (int bits = 1; bits <= 2; ++bits)
      largest[r] = fmaxf(largest[r], __shfl_xor_sync(~0u, largest[r], bits));
    rescale[r] = __expf(acc.maximum[r] - largest[r]);
    acc.maximum[r] = largest[r];
  }
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
    for (int e = 0; e < 4; ++e) {
      scores[n][e] = __expf(scores[n][e] - largest[e / 2]);
      sum[e / 2] += scores[n][e];
    }
  for (int r = 0; r < 2; ++r) {
    for (int bits = 1; bits <= 2; ++bits) sum[r] += __shfl_xor_sync(~0u, sum[r], bits);
    acc.total[r] = acc.total[r] * rescale[r] + sum[r];
  }
#pragma unroll
  for (int d = 0; d < kDim / 8; ++d)
    for (int e = 0; e < 4; ++e) acc.sums[d][e] *= rescale[e / 2];
}

__device__ __forceinline__ void multiply_values(Accumulator& acc, const float (&weights)[kKeys / 8][4],
                                                const bf16* tile_v) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int n = 0; n < kKeys / 16; ++n) {
    const float(&left)[4] = weights[2 * n], (&right)[4] = weights[2 * n + 1];
    const uint32_t a[4] = {pack2<bf16>(left[0], left[1]), pack2<bf16>(left[2], left[3]),
                           pack2<bf16>(right[0], right[1]), pack2<bf16>(right[2], right[3])};
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      uint32_t b[4];
      ldmatrix_x4_trans(b, tile_v + (n * 16 + lane % 16) * kStride + d * 16 + lane / 16 * 8);
      mma_m16n8k16<bf16>(acc.sums[2 * d], a, b[0], b[1]);
      mma_m16n8k16<bf16>(acc.sums[2 * d + 1], a, b[2], b[3]);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    attention_tensor_core_kernel(Fault fault, int tokens, const bf16* __restrict__ q,
                                 const bf16* __restrict__ k, const bf16* __restrict__ v,
                                 float* __restrict__ out, float* __restrict__ lse) {
  WD_DYNAMIC_SHARED(bf16, tiles);
  bf16 *tile_q = tiles, *tiles_k = tiles + kTile, *tiles_v = tiles + 3 * kTile;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int first = static_cast<int>(blockIdx.x) * kRows, head = static_cast<int>(blockIdx.y);
  const int64_t base = int64_t{head} * tokens * kDim;
  const int count = (tokens + kKeys - 1) / kKeys;
  fetch_tile(tile_q, q + base, first, tokens);
  fetch_tile(tiles_k, k + base, 0, tokens);
  fetch_tile(tiles_v, v + base, 0, tokens);
  cp_async_commit();
  uint32_t fragments_q[kDim / 16][4];
  Accumulator acc;
  for (int tile = 0; tile < count; ++tile) {
    const int now = tile % 2 * kTile, next = kTile - now;
    if (tile + 1 < count) {
      fetch_tile(tiles_k + next, k + base, (tile + 1) * kKeys, tokens);
      fetch_tile(tiles_v + next, v + base, (tile + 1) * kKeys, tokens);
    }
    cp_async_commit();
    if (fault != Fault::kNoCopyWait) cp_async_wait<1>();
    if (fault != Fault::kDivergentBarrier || warp != 3) __syncthreads();
    if (tile == 0)
      for (int d = 0; d < kDim / 16; ++d)
        ldmatrix_x4(fragments_q[d], tile_q + (warp * 16 + lane % 16) * kStride + d * 16 + lane / 16 * 8);
    float scores[kKeys / 8][4] = {};
    multiply_keys(scores, fragments_q, tiles_k + now);
    softmax_step(scores, acc, fault == Fault::kNoMask ? kKeys : tokens - tile * kKeys);
    multiply_values(acc, scores, tiles_v + now);
    if (fault != Fault::kNoTrailingBarrier) __syncthreads();
  }
  cp_async_wait<0>();
  for (int r = 0; r < 2; ++r) {
    const int row = first + warp * 16 + lane / 4 + r * 8;
    if (row >= tokens) continue;
    for (int d = 0; d < kDim / 8; ++d)
      *reinterpret_cast<float2*>(out + base + int64_t{row} * kDim + d * 8 + lane % 4 * 2) =
          make_float2(acc.sums[d][2 * r] / acc.total[r], acc.sums[d][2 * r + 1] / acc.total[r]);
    if (lane % 4 == 0) lse[int64_t{head} * tokens + row] = acc.maximum[r] + __logf(acc.total[r]);
  }
}

}  // namespace

void attention_tensor_core(Fault fault, int heads, int tokens, const bf16* q, const bf16* k, const bf16* v,
                           float* out, float* lse, const Queue& queue) {
  const dim3 grid(static_cast<unsigned>(tokens + kRows - 1) / kRows, static_cast<unsigned>(heads));
  const size_t bytes = kSharedBytes - (fault == Fault::kSharedTooSmall ? 32 : 0);
  launch(queue, grid, kThreads, bytes, attention_tensor_core_kernel, fault, tokens, q, k, v, out, lse);
}

}  // namespace wandistill::WD_KERNELS
