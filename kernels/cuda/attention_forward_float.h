// Attention, forward, in float32 (no tensor cores, no TF32): 64 queries per block, keys by 64, and output
// columns in slices of 128; a thread has 4 x 4 scores and 4 rows of every 16th output column.
#pragma once

#include <cmath>

#include "kernels/cuda/attention.h"

namespace wandistill::WD_KERNELS {

constexpr int kFloatRows = 64, kFloatKeys = 64, kFloatSlice = 128, kFloatChunk = 16, kFloatThreads = 256;

struct FloatTiles {
  float q[kFloatRows][kFloatChunk + 1];  // some columns of the queries and of the keys
  float k[kFloatKeys][kFloatChunk + 1];
  float p[kFloatRows][kFloatKeys + 1];  // weights
  float v[kFloatChunk][kFloatSlice];    // some keys' values
};

/// Reduces over the 16 threads that share rows; all get the result.
template <class Combine>
__device__ __forceinline__ float over_columns(float value, Combine combine) {
  for (int bits = 1; bits <= 8; bits *= 2) value = combine(value, __shfl_xor_sync(~0u, value, bits));
  return value;
}

static __global__ void __launch_bounds__(kFloatThreads)
    attention_forward_float_kernel(const AttentionShape shape, int slices, const float* __restrict__ q,
                                   const float* __restrict__ k, const float* __restrict__ v,
                                   float* __restrict__ out, float* __restrict__ log_sum_exp) {
  WD_SHARED(FloatTiles, tiles, [1]);
  FloatTiles& t = tiles[0];
  constexpr int kColumns = kFloatSlice / 16;
  const int thread = static_cast<int>(threadIdx.x), tx = thread % 16, ty = thread / 16;
  const int slice = static_cast<int>(blockIdx.z) % slices * kFloatSlice,
            dim = static_cast<int>(shape.head_dim);
  const HeadView head(shape, blockIdx.z / static_cast<unsigned>(slices), blockIdx.y);
  const int64_t first = int64_t{blockIdx.x} * kFloatRows;
  float sums[4][kColumns] = {}, maximum[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, total[4] = {};
  for (int64_t key = 0; key < head.keys; key += kFloatKeys) {
    float scores[4][4] = {};  // rows ty + 16 i, keys tx + 16 j
    for (int column = 0; column < dim; column += kFloatChunk) {
      __syncthreads();
      for (int i = thread; i < kFloatRows * kFloatChunk; i += kFloatThreads) {
        const int row = i / kFloatChunk, c = i % kFloatChunk;
        const bool inside = column + c < dim;
        t.q[row][c] = inside && first + row < head.queries
                          ? q[head.at_query + (first + row) * head.stride + column + c]
                          : 0;
        t.k[row][c] =
            inside && key + row < head.keys ? k[head.at_key + (key + row) * head.stride + column + c] : 0;
      }
      __syncthreads();
#pragma unroll
      for (int c = 0; c < kFloatChunk; ++c) {
        float a[4], b[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) a[i] = t.q[ty + 16 * i][c], b[i] = t.k[tx + 16 * i][c];
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j) scores[i][j] += a[i] * b[j];
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float largest = maximum[i], sum = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t at = key + tx + 16 * j;
        float score = scores[i][j] * shape.scale;
        if (at == head.keys - 1) score += head.bias;
        scores[i][j] = at < head.keys ? score : -INFINITY;
        largest = fmaxf(largest, scores[i][j]);
      }
      largest = over_columns(largest, [](float a, float b) { return fmaxf(a, b); });
      const float rescale = expf(maximum[i] - largest);
      maximum[i] = largest;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float weight = expf(scores[i][j] - largest);
        t.p[ty + 16 * i][tx + 16 * j] = weight;
        sum += weight;
      }
      total[i] = total[i] * rescale + over_columns(sum, [](float a, float b) { return a + b; });
#pragma unroll
      for (int c = 0; c < kColumns; ++c) sums[i][c] *= rescale;
    }
    for (int part = 0; part < kFloatKeys; part += kFloatChunk) {
      __syncthreads();
      for (int i = thread; i < kFloatChunk * kFloatSlice; i += kFloatThreads) {
        const int row = i / kFloatSlice, c = i % kFloatSlice;
        t.v[row][c] = slice + c < dim && key + part + row < head.keys
                          ? v[head.at_key + (key + part + row) * head.stride + slice + c]
                          : 0;
      }
      __syncthreads();
#pragma unroll
      for (int j = 0; j < kFloatChunk; ++j) {
        float weight[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) weight[i] = t.p[ty + 16 * i][part + j];
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const float value = t.v[j][tx + 16 * c];
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[i][c] += weight[i] * value;
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t row = first + ty + 16 * i;
    if (row >= head.queries) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
      if (slice + tx + 16 * c < dim)
        out[head.at_query + row * head.stride + slice + tx + 16 * c] = sums[i][c] / total[i];
    if (log_sum_exp != nullptr && slice == 0 && tx == 0)
      log_sum_exp[head.at_statistics + row] = maximum[i] + logf(total[i]);
  }
}

inline void launch_attention_forward_float(const AttentionShape& s, const float* q, const float* k,
                                           const float* v, float* out, float* log_sum_exp,
                                           const Queue& queue) {
  const int slices = static_cast<int>((s.head_dim + kFloatSlice - 1) / kFloatSlice);
  const dim3 grid(static_cast<unsigned>((s.queries + kFloatRows - 1) / kFloatRows),
                  static_cast<unsigned>(s.heads), static_cast<unsigned>(s.batch * slices));
  launch(queue, grid, kFloatThreads, 0, attention_forward_float_kernel, s, slices, q, k, v, out, log_sum_exp);
}

}  // namespace wandistill::WD_KERNELS
