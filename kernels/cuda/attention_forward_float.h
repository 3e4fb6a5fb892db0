// Attention, forward, in float32 (no tensor cores, no TF32): 64 queries per block, keys by 64, and output
// columns in slices; a thread has 4 x 4 scores and 4 rows of four of every 64 output columns. Tiles lie so
// that what a thread multiplies comes four at a time.
#pragma once

#include <cmath>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {

constexpr int kFloatRows = 64, kFloatKeys = 64, kFloatChunk = 16, kFloatThreads = 256;

template <int kSlice>
struct FloatTiles {
  float q[kFloatChunk][kFloatRows + 4];  // some columns of the queries and of the keys, transposed
  float k[kFloatChunk][kFloatKeys + 4];
  float p[kFloatKeys][kFloatRows + 4];  // weights, transposed
  float v[kFloatChunk][kSlice];         // some keys' values
};

/// Reduces over the 16 threads that share rows; all get the result.
template <class Combine>
__device__ __forceinline__ float over_columns(float value, Combine combine) {
  for (int bits = 1; bits <= 8; bits *= 2) value = combine(value, __shfl_xor_sync(~0u, value, bits));
  return value;
}

/// values = the first `left` (all, if more; none, if negative) of four elements, zeros behind them. aligned:
/// of all rows, whose lengths are multiples of four.
__device__ __forceinline__ void load_four(const float* at, int64_t left, bool aligned, float (&values)[4]) {
  if (aligned && left > 0) {
    load<4>(at, values);
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) values[e] = e < left ? at[e] : 0;
  }
}

/// Grid: query tiles, heads, samples x slices of kSlice output columns.
template <int kSlice>
__global__ void __launch_bounds__(kFloatThreads, 2)
    attention_forward_float_kernel(const AttentionShape shape, int slices, bool aligned,
                                   const float* __restrict__ q, const float* __restrict__ k,
                                   const float* __restrict__ v, float* __restrict__ out,
                                   float* __restrict__ log_sum_exp) {
  WD_SHARED(FloatTiles<kSlice>, tiles, [1]);
  FloatTiles<kSlice>& t = tiles[0];
  constexpr int kParts = kSlice / 64;
  const int thread = static_cast<int>(threadIdx.x), tx = thread % 16, ty = thread / 16;
  const int slice = static_cast<int>(blockIdx.z) % slices * kSlice, dim = static_cast<int>(shape.head_dim);
  const HeadView head(shape, blockIdx.z / static_cast<unsigned>(slices), blockIdx.y);
  const int64_t first = int64_t{blockIdx.x} * kFloatRows;
  float sums[4][kParts * 4] = {}, maximum[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, total[4] = {};
  for (int64_t key = 0; key < head.keys; key += kFloatKeys) {
    float scores[4][4] = {};  // rows 4 ty + i, keys 4 tx + j
    for (int column = 0; column < dim; column += kFloatChunk) {
      const int row = thread / 4, c = thread % 4 * 4;
      const int64_t query = first + row, other = key + row;
      float of_q[4], of_k[4];
      load_four(q + head.at_query + query * head.stride + column + c,
                query < head.queries ? dim - column - c : 0, aligned, of_q);
      load_four(k + head.at_key + other * head.stride + column + c, other < head.keys ? dim - column - c : 0,
                aligned, of_k);
      __syncthreads();
#pragma unroll
      for (int e = 0; e < 4; ++e) t.q[c + e][row] = of_q[e], t.k[c + e][row] = of_k[e];
      __syncthreads();
#pragma unroll
      for (int d = 0; d < kFloatChunk; ++d) {
        float a[4], b[4];
        load<4>(&t.q[d][4 * ty], a);
        load<4>(&t.k[d][4 * tx], b);
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
        const int64_t at = key + 4 * tx + j;
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
        scores[i][j] = expf(scores[i][j] - largest);
        sum += scores[i][j];
      }
      total[i] = total[i] * rescale + over_columns(sum, [](float a, float b) { return a + b; });
#pragma unroll
      for (int c = 0; c < kParts * 4; ++c) sums[i][c] *= rescale;
    }
    // p is free: whoever reads it has passed a barrier of the loop above since.
#pragma unroll
    for (int j = 0; j < 4; ++j)
      store<4>(&t.p[4 * tx + j][4 * ty], {scores[0][j], scores[1][j], scores[2][j], scores[3][j]});
    for (int from = 0; from < kFloatKeys; from += kFloatChunk) {
      const int row = thread / 16;
      const int64_t other = key + from + row;
      float values[kParts][4];
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const int column = slice + 64 * part + 4 * tx;
        load_four(v + head.at_key + other * head.stride + column, other < head.keys ? dim - column : 0,
                  aligned, values[part]);
      }
      __syncthreads();
#pragma unroll
      for (int part = 0; part < kParts; ++part) store<4>(&t.v[row][64 * part + 4 * tx], values[part]);
      __syncthreads();
#pragma unroll
      for (int j = 0; j < kFloatChunk; ++j) {
        float weights[4];
        load<4>(&t.p[from + j][4 * ty], weights);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          float value[4];
          load<4>(&t.v[j][64 * part + 4 * tx], value);
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int c = 0; c < 4; ++c) sums[i][4 * part + c] += weights[i] * value[c];
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t row = first + 4 * ty + i;
    if (row >= head.queries) continue;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const int column = slice + 64 * part + 4 * tx;
      float* at = out + head.at_query + row * head.stride + column;
      float values[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) values[c] = sums[i][4 * part + c] / total[i];
      if (aligned && column < dim) {
        store<4>(at, values);
      } else {
#pragma unroll
        for (int c = 0; c < 4; ++c)
          if (column + c < dim) at[c] = values[c];
      }
    }
    if (log_sum_exp != nullptr && slice == 0 && tx == 0)
      log_sum_exp[head.at_statistics + row] = maximum[i] + logf(total[i]);
  }
}

template <int kSlice>
void launch_attention_forward_float(const AttentionShape& s, const float* q, const float* k, const float* v,
                                    float* out, float* log_sum_exp, const Queue& queue) {
  const int slices = static_cast<int>((s.head_dim + kSlice - 1) / kSlice);
  const dim3 grid(static_cast<unsigned>((s.queries + kFloatRows - 1) / kFloatRows),
                  static_cast<unsigned>(s.heads), static_cast<unsigned>(s.batch * slices));
  launch(queue, grid, kFloatThreads, 0, attention_forward_float_kernel<kSlice>, s, slices,
         s.head_dim % 4 == 0 && aligned<4>(q, k, v, out), q, k, v, out, log_sum_exp);
}

}  // namespace wandistill::WD_KERNELS
