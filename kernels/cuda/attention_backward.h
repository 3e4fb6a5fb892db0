// What the two forms of attention's backward pass, bf16 on tensor cores and float32, have in common: delta,
// and partial sums of dk and dv where keys are few and queries many. Both forms recompute the weights from
// log_sum_exp (Dao et al. 2022); dk and dv come from one kernel per tile of keys, dq from one per tile of
// queries, so that nothing is added up in an order of chance.
#pragma once

#include <algorithm>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/vector.h"
#include "wandistill/gpu.h"

namespace wandistill::WD_KERNELS {

constexpr int kDeltaLanes = 8, kDeltaRows = 256 / kDeltaLanes;

/// delta [B, H, Lq] = sum over D of dout out: what softmax's gradient subtracts. Eight lanes per row and
/// head, N elements in one access.
template <int N, class T>
__global__ void __launch_bounds__(256)
    attention_delta_kernel(const AttentionShape shape, const T* __restrict__ out, const T* __restrict__ dout,
                           float* __restrict__ delta) {
  const int64_t row = int64_t{blockIdx.x} * kDeltaRows + threadIdx.x / kDeltaLanes;  // of [B, Lq, H]
  const int lane = static_cast<int>(threadIdx.x) % kDeltaLanes;
  const int64_t rows = shape.batch * shape.queries * shape.heads;
  float sum = 0;
  if (row < rows)
    for (int64_t d = lane * N; d < shape.head_dim; d += kDeltaLanes * N) {
      float o[N], gradient[N];
      load(out + row * shape.head_dim + d, o);
      load(dout + row * shape.head_dim + d, gradient);
#pragma unroll
      for (int e = 0; e < N; ++e) sum += o[e] * gradient[e];
    }
  for (int bits = kDeltaLanes / 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(~0u, sum, bits);
  if (lane != 0 || row >= rows) return;
  const int64_t head = row % shape.heads, query = row / shape.heads;
  const int64_t sample = query / shape.queries;
  delta[(sample * shape.heads + head) * shape.queries + query - sample * shape.queries] = sum;
}

/// How the queries are divided among blocks that work on the same keys.
struct QuerySplit {
  int parts;
  int64_t rows;  // of each part, a multiple of 64
};

/// By shape alone: enough blocks to fill a GPU, parts of at least 256 queries, 16 at most.
inline QuerySplit split_queries(const AttentionShape& s, int64_t key_tiles) {
  constexpr int64_t kEnoughBlocks = 264, kFewestRows = 256, kMost = 16;
  const int64_t blocks = std::max<int64_t>(key_tiles * s.heads * s.batch, 1);
  const int64_t wanted = (kEnoughBlocks + blocks - 1) / blocks;
  const int64_t possible = (s.queries + kFewestRows - 1) / kFewestRows;
  const int64_t parts = std::max<int64_t>(std::min({wanted, possible, kMost}), 1);
  const int64_t rows = std::max<int64_t>((s.queries + parts - 1) / parts + 63, 64) / 64 * 64;
  return {static_cast<int>(std::max<int64_t>((s.queries + rows - 1) / rows, 1)), rows};
}

/// dk and dv = the sums over the parts of partial [parts, 2, B, max_keys, H * D]. N elements a thread.
template <int N, class T>
__global__ void __launch_bounds__(256)
    attention_sum_parts_kernel(const AttentionShape shape, int parts, const float* __restrict__ partial,
                               T* __restrict__ dk, T* __restrict__ dv) {
  const int64_t stride = shape.heads * shape.head_dim;
  const int64_t of_sample = shape.max_keys * stride, of_tensor = shape.batch * of_sample;
  const int64_t i = (int64_t{blockIdx.x} * 256 + threadIdx.x) * N, sample = blockIdx.y;
  const int64_t first = shape.key_offsets[sample], keys = shape.key_offsets[sample + 1] - first;
  if (i >= keys * stride) return;
  for (int tensor = 0; tensor < 2; ++tensor) {
    float sum[N] = {};
#pragma unroll 4
    for (int part = 0; part < parts; ++part) {
      float values[N];
      load(partial + (2 * part + tensor) * of_tensor + sample * of_sample + i, values);
#pragma unroll
      for (int e = 0; e < N; ++e) sum[e] += values[e];
    }
    store((tensor == 0 ? dk : dv) + first * stride + i, sum);
  }
}

/// Where a block of part `part` leaves dk (tensor 0) or dv (1): the tensor itself or, if there are several
/// parts, its partial sums.
template <class T>
struct KeyGradient {
  T* tensor;
  float* partial;  // null: there is one part

  /// The index there of a key's first element.
  __device__ __forceinline__ int64_t at(const AttentionShape& s, const HeadView& head, int which, int part,
                                        int64_t sample, int64_t head_index, int64_t key) const {
    if (partial == nullptr) return head.at_key + key * head.stride;
    return ((2 * part + which) * s.batch + sample) * s.max_keys * head.stride + key * head.stride +
           head_index * s.head_dim;
  }
  template <int N>
  __device__ __forceinline__ void write(int64_t index, const float (&values)[N]) const {
    if (partial == nullptr)
      store(tensor + index, values);
    else
      store(partial + index, values);
  }
};

template <class T>
void launch_delta(const AttentionShape& s, const T* out, const T* dout, float* delta, const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool whole = s.head_dim % N == 0 && aligned<N>(out, dout);
  launch(queue, static_cast<unsigned>((s.batch * s.queries * s.heads + kDeltaRows - 1) / kDeltaRows), 256, 0,
         whole ? attention_delta_kernel<N, T> : attention_delta_kernel<1, T>, s, out, dout, delta);
}

template <class T>
void launch_sum_parts(const AttentionShape& s, int parts, const float* partial, T* dk, T* dv,
                      const Queue& queue) {
  const bool whole = s.head_dim % 4 == 0 && aligned<4>(dk, dv);
  const int64_t threads = s.max_keys * s.heads * s.head_dim / (whole ? 4 : 1);
  launch(queue, dim3(static_cast<unsigned>((threads + 255) / 256), static_cast<unsigned>(s.batch)), 256, 0,
         whole ? attention_sum_parts_kernel<4, T> : attention_sum_parts_kernel<1, T>, s, parts, partial, dk,
         dv);
}

}  // namespace wandistill::WD_KERNELS
