// Attention, backward, in float32: tiles of 32 queries by 32 keys, 256 threads; a thread has 2 x 2 scores and
// 2 rows of 4 neighbouring columns in every 64 of a gradient.
#pragma once

#include <cmath>

#include "kernels/cuda/attention_backward.h"
#include "kernels/cuda/launch_shared.h"

namespace wandistill::WD_KERNELS {

constexpr int kGradTile = 32, kGradThreads = 256;
/// Blocks per multiprocessor that the registers have to leave room for.
template <int kColumns>
constexpr int kGradBlocks = kColumns > 64 ? 2 : 3;

/// Four tiles of 32 rows of the head: of q, k, v and dout; and the weights and the scores' gradients. Rows
/// are read four columns at a time: eight of them, four floats apart in the banks, meet no conflict.
template <int kColumns>
struct alignas(16) GradTiles {
  float q[kGradTile][kColumns + 4], k[kGradTile][kColumns + 4], v[kGradTile][kColumns + 4],
      dout[kGradTile][kColumns + 4];
  float p[kGradTile][kGradTile + 4], ds[kGradTile][kGradTile + 4];  // [query][key]
};

/// The N of four sums from number e on.
template <int N>
__device__ __forceinline__ Pack<float, N> piece(const float (&four)[4], int e) {
  Pack<float, N> pack;
#pragma unroll
  for (int n = 0; n < N; ++n) pack.element[n] = four[e + n];
  return pack;
}

/// Rows [first, first + 32) of a head's tensor, N columns in one access; zeros behind `rows` and `columns`.
template <int kColumns, int N>
__device__ __forceinline__ void load_rows(float (&tile)[kGradTile][kColumns + 4], const float* tensor,
                                          int64_t stride, int64_t first, int64_t rows, int columns) {
  constexpr int kPieces = kColumns / N;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kGradTile * kPieces; i += kGradThreads) {
    const int row = i / kPieces, c = i % kPieces * N;
    float values[N] = {};
    if (first + row < rows && c < columns) load(tensor + (first + row) * stride + c, values);
    store(&tile[row][c], values);
  }
}

/// p and ds of the tiles that stand in t. All threads; barriers on both sides are the caller's.
template <int kColumns>
__device__ __forceinline__ void weigh(GradTiles<kColumns>& t, const AttentionShape& shape,
                                      const HeadView& head, int64_t query, int64_t key,
                                      const float* log_sum_exp, const float* delta) {
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  float scores[2][2] = {}, dp[2][2] = {};
#pragma unroll 1
  for (int c = 0; c < kColumns; c += 4) {
    float q[2][4], k[2][4], v[2][4], dout[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      load(&t.q[ty + 16 * i][c], q[i]);
      load(&t.dout[ty + 16 * i][c], dout[i]);
      load(&t.k[tx + 16 * i][c], k[i]);
      load(&t.v[tx + 16 * i][c], v[i]);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e)
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          scores[i][j] += q[i][e] * k[j][e];
          dp[i][j] += dout[i][e] * v[j][e];
        }
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
template <int kColumns, int N>
__global__ void __launch_bounds__(kGradThreads, kGradBlocks<kColumns>)
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
  load_rows<kColumns, N>(t.k, k + head.at_key, head.stride, key, head.keys, dim);
  load_rows<kColumns, N>(t.v, v + head.at_key, head.stride, key, head.keys, dim);
  // Of keys 2 ty + i, columns 64 c + 4 tx + e.
  float sum_k[2][kColumns / 64][4] = {}, sum_v[2][kColumns / 64][4] = {};
  for (int64_t query = begin; query < end; query += kGradTile) {
    load_rows<kColumns, N>(t.q, q + head.at_query, head.stride, query, end, dim);
    load_rows<kColumns, N>(t.dout, dout + head.at_query, head.stride, query, end, dim);
    __syncthreads();
    weigh<kColumns>(t, shape, head, query, key, log_sum_exp, delta);
    __syncthreads();
#pragma unroll 2
    for (int r = 0; r < kGradTile; ++r) {
      float weight[2], gradient[2];
      load(&t.p[r][2 * ty], weight);
      load(&t.ds[r][2 * ty], gradient);
#pragma unroll
      for (int c = 0; c < kColumns / 64; ++c) {
        float q_row[4], dout_row[4];
        load(&t.q[r][64 * c + 4 * tx], q_row);
        load(&t.dout[r][64 * c + 4 * tx], dout_row);
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            sum_v[i][c][e] += weight[i] * dout_row[e];
            sum_k[i][c][e] += gradient[i] * q_row[e];
          }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t row = key + 2 * ty + i;
    if (row >= head.keys) continue;
    const int64_t at_k = dk.at(shape, head, 0, part, sample, blockIdx.y, row),
                  at_v = dv.at(shape, head, 1, part, sample, blockIdx.y, row);
#pragma unroll
    for (int c = 0; c < kColumns / 64; ++c)
#pragma unroll
      for (int e = 0; e < 4; e += N) {
        const int column = 64 * c + 4 * tx + e;
        if (column >= dim) continue;
        dk.write(at_k + column, piece<N>(sum_k[i][c], e).element);
        dv.write(at_v + column, piece<N>(sum_v[i][c], e).element);
      }
  }
}

/// Grid: query tiles, heads, samples.
template <int kColumns, int N>
__global__ void __launch_bounds__(kGradThreads, kGradBlocks<kColumns>)
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
  load_rows<kColumns, N>(t.q, q + head.at_query, head.stride, query, head.queries, dim);
  load_rows<kColumns, N>(t.dout, dout + head.at_query, head.stride, query, head.queries, dim);
  float sums[2][kColumns / 64][4] = {};  // of queries 2 ty + i, columns 64 c + 4 tx + e
  for (int64_t key = 0; key < head.keys; key += kGradTile) {
    load_rows<kColumns, N>(t.k, k + head.at_key, head.stride, key, head.keys, dim);
    load_rows<kColumns, N>(t.v, v + head.at_key, head.stride, key, head.keys, dim);
    __syncthreads();
    weigh<kColumns>(t, shape, head, query, key, log_sum_exp, delta);
    __syncthreads();
#pragma unroll 2
    for (int r = 0; r < kGradTile; r += 4) {
      float gradient[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) load(&t.ds[2 * ty + i][r], gradient[i]);
#pragma unroll
      for (int step = 0; step < 4; ++step)
#pragma unroll
        for (int c = 0; c < kColumns / 64; ++c) {
          float k_row[4];
          load(&t.k[r + step][64 * c + 4 * tx], k_row);
#pragma unroll
          for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int e = 0; e < 4; ++e) sums[i][c][e] += gradient[i][step] * k_row[e];
        }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int c = 0; c < kColumns / 64; ++c)
#pragma unroll
      for (int e = 0; e < 4; e += N) {
        const int64_t row = query + 2 * ty + i;
        const int column = 64 * c + 4 * tx + e;
        if (row >= head.queries || column >= dim) continue;
        store(dq + head.at_query + row * head.stride + column, piece<N>(sums[i][c], e).element);
      }
}

template <int kColumns, int N>
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
  launch_shared<attention_dkdv_float_kernel<kColumns, N>, kBytes>(
      queue, dim3(static_cast<unsigned>(key_tiles), heads, batch * static_cast<unsigned>(split.parts)),
      kGradThreads, s, split, q, k, v, log_sum_exp, delta, dout, KeyGradient<float>{dk, partial.data()},
      KeyGradient<float>{dv, partial.data()});
  if (split.parts > 1) launch_sum_parts(s, split.parts, partial.data(), dk, dv, queue);
  launch_shared<attention_dq_float_kernel<kColumns, N>, kBytes>(
      queue, dim3(static_cast<unsigned>((s.queries + kGradTile - 1) / kGradTile), heads, batch), kGradThreads,
      s, q, k, v, log_sum_exp, delta, dout, dq);
}

}  // namespace wandistill::WD_KERNELS
