// Attention, backward, in float32: tiles of 32 queries by 32 keys, 256 threads; a thread has 2 x 2 scores and
// 2 rows of every 16th column of a gradient.
#pragma once

#include <cmath>

#include "kernels/cuda/attention_backward.h"

namespace wandistill::WD_KERNELS {

constexpr int kGradTile = 32, kGradThreads = 256;

/// Four tiles of 32 rows of the head: of q, k, v and dout; and the weights and the scores' gradients.
template <int kColumns>
struct GradTiles {
  float q[kGradTile][kColumns + 1], k[kGradTile][kColumns + 1], v[kGradTile][kColumns + 1],
      dout[kGradTile][kColumns + 1];
  float p[kGradTile][kGradTile + 1], ds[kGradTile][kGradTile + 1];  // [query][key]
};

/// Rows [first, first + 32) of a head's tensor; zeros behind `rows` and `columns`.
template <int kColumns>
__device__ __forceinline__ void load_rows(float (&tile)[kGradTile][kColumns + 1], const float* tensor,
                                          int64_t stride, int64_t first, int64_t rows, int columns) {
  for (int i = static_cast<int>(threadIdx.x); i < kGradTile * kColumns; i += kGradThreads) {
    const int row = i / kColumns, c = i % kColumns;
    tile[row][c] = first + row < rows && c < columns ? tensor[(first + row) * stride + c] : 0;
  }
}

/// p and ds of the tiles that stand in t. All threads; barriers on both sides are the caller's.
template <int kColumns>
__device__ __forceinline__ void weigh(GradTiles<kColumns>& t, const AttentionShape& shape,
                                      const HeadView& head, int64_t query, int64_t key,
                                      const float* log_sum_exp, const float* delta) {
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  float scores[2][2] = {}, dp[2][2] = {};
#pragma unroll 8
  for (int c = 0; c < kColumns; ++c)
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        scores[i][j] += t.q[ty + 16 * i][c] * t.k[tx + 16 * j][c];
        dp[i][j] += t.dout[ty + 16 * i][c] * t.v[tx + 16 * j][c];
      }
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int64_t row = query + ty + 16 * i, at = key + tx + 16 * j;
      float weight = 0, gradient = 0;
      if (row < head.queries && at < head.keys) {
        const float score = scores[i][j] * shape.scale + (at == head.keys - 1 ? head.bias : 0);
        weight = expf(score - log_sum_exp[head.at_statistics + row]);
        gradient = weight * (dp[i][j] - delta[head.at_statistics + row]) * shape.scale;
      }
      t.p[ty + 16 * i][tx + 16 * j] = weight;
      t.ds[ty + 16 * i][tx + 16 * j] = gradient;
    }
}

/// Grid: key tiles, heads, samples x parts of the queries.
template <int kColumns>
__global__ void __launch_bounds__(kGradThreads)
    attention_dkdv_float_kernel(const AttentionShape shape, const QuerySplit split,
                                const float* __restrict__ q, const float* __restrict__ k,
                                const float* __restrict__ v, const float* __restrict__ log_sum_exp,
                                const float* __restrict__ delta, const float* __restrict__ dout,
                                const KeyGradient<float> dk, const KeyGradient<float> dv) {
  WD_DYNAMIC_SHARED(GradTiles<kColumns>, tiles);
  GradTiles<kColumns>& t = *tiles;
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  const int part = static_cast<int>(blockIdx.z) % split.parts, dim = static_cast<int>(shape.head_dim);
  const int64_t sample = blockIdx.z / static_cast<unsigned>(split.parts);
  const HeadView head(shape, sample, blockIdx.y);
  const int64_t key = int64_t{blockIdx.x} * kGradTile;
  if (key >= head.keys) return;  // of the whole block
  const int64_t begin = part * split.rows,
                end = begin + split.rows < head.queries ? begin + split.rows : head.queries;
  load_rows<kColumns>(t.k, k + head.at_key, head.stride, key, head.keys, dim);
  load_rows<kColumns>(t.v, v + head.at_key, head.stride, key, head.keys, dim);
  float sum_k[2][kColumns / 16] = {}, sum_v[2][kColumns / 16] = {};  // keys ty + 16 i, columns tx + 16 c
  for (int64_t query = begin; query < end; query += kGradTile) {
    load_rows<kColumns>(t.q, q + head.at_query, head.stride, query, end, dim);
    load_rows<kColumns>(t.dout, dout + head.at_query, head.stride, query, end, dim);
    __syncthreads();
    weigh(t, shape, head, query, key, log_sum_exp, delta);
    __syncthreads();
    for (int r = 0; r < kGradTile; ++r)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float weight = t.p[r][ty + 16 * i], gradient = t.ds[r][ty + 16 * i];
#pragma unroll
        for (int c = 0; c < kColumns / 16; ++c) {
          sum_v[i][c] += weight * t.dout[r][tx + 16 * c];
          sum_k[i][c] += gradient * t.q[r][tx + 16 * c];
        }
      }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t row = key + ty + 16 * i;
    if (row >= head.keys) continue;
#pragma unroll
    for (int c = 0; c < kColumns / 16; ++c) {
      if (tx + 16 * c >= dim) continue;
      dk.write(shape, head, 0, part, sample, blockIdx.y, row, tx + 16 * c, sum_k[i][c]);
      dv.write(shape, head, 1, part, sample, blockIdx.y, row, tx + 16 * c, sum_v[i][c]);
    }
  }
}

/// Grid: query tiles, heads, samples.
template <int kColumns>
__global__ void __launch_bounds__(kGradThreads)
    attention_dq_float_kernel(const AttentionShape shape, const float* __restrict__ q,
                              const float* __restrict__ k, const float* __restrict__ v,
                              const float* __restrict__ log_sum_exp, const float* __restrict__ delta,
                              const float* __restrict__ dout, float* __restrict__ dq) {
  WD_DYNAMIC_SHARED(GradTiles<kColumns>, tiles);
  GradTiles<kColumns>& t = *tiles;
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  const int dim = static_cast<int>(shape.head_dim);
  const HeadView head(shape, blockIdx.z, blockIdx.y);
  const int64_t query = int64_t{blockIdx.x} * kGradTile;
  load_rows<kColumns>(t.q, q + head.at_query, head.stride, query, head.queries, dim);
  load_rows<kColumns>(t.dout, dout + head.at_query, head.stride, query, head.queries, dim);
  float sums[2][kColumns / 16] = {};
  for (int64_t key = 0; key < head.keys; key += kGradTile) {
    load_rows<kColumns>(t.k, k + head.at_key, head.stride, key, head.keys, dim);
    load_rows<kColumns>(t.v, v + head.at_key, head.stride, key, head.keys, dim);
    __syncthreads();
    weigh(t, shape, head, query, key, log_sum_exp, delta);
    __syncthreads();
    for (int r = 0; r < kGradTile; ++r)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float gradient = t.ds[ty + 16 * i][r];
#pragma unroll
        for (int c = 0; c < kColumns / 16; ++c) sums[i][c] += gradient * t.k[r][tx + 16 * c];
      }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t row = query + ty + 16 * i;
    if (row >= head.queries) continue;
#pragma unroll
    for (int c = 0; c < kColumns / 16; ++c)
      if (tx + 16 * c < dim) dq[head.at_query + row * head.stride + tx + 16 * c] = sums[i][c];
  }
}

template <int kColumns>
void launch_backward_float(const AttentionShape& s, const float* q, const float* k, const float* v,
                           const float* log_sum_exp, const float* delta, const float* dout, float* dq,
                           float* dk, float* dv, const Queue& queue) {
  constexpr size_t kBytes = sizeof(GradTiles<kColumns>);
  const int64_t key_tiles = (s.max_keys + kGradTile - 1) / kGradTile;
  const QuerySplit split = split_queries(s, key_tiles);
  DeviceBuffer<float> partial;
  if (split.parts > 1)
    partial =
        DeviceBuffer<float>(*queue.stream, split.parts * 2 * s.batch * s.max_keys * s.heads * s.head_dim);
  const unsigned heads = static_cast<unsigned>(s.heads), batch = static_cast<unsigned>(s.batch);
  launch(queue, dim3(static_cast<unsigned>(key_tiles), heads, batch * static_cast<unsigned>(split.parts)),
         kGradThreads, kBytes, attention_dkdv_float_kernel<kColumns>, s, split, q, k, v, log_sum_exp, delta,
         dout, KeyGradient<float>{dk, partial.data()}, KeyGradient<float>{dv, partial.data()});
  if (split.parts > 1) launch_sum_parts(s, split.parts, partial.data(), dk, dv, queue);
  launch(queue, dim3(static_cast<unsigned>((s.queries + kGradTile - 1) / kGradTile), heads, batch),
         kGradThreads, kBytes, attention_dq_float_kernel<kColumns>, s, q, k, v, log_sum_exp, delta, dout, dq);
}

}  // namespace wandistill::WD_KERNELS
