// What the two forms of attention's backward pass, bf16 on tensor cores and float32, have in common: delta,
// and partial sums of dk and dv where keys are few and queries many. Both forms recompute the weights from
// log_sum_exp (Dao et al. 2022); dk and dv come from one kernel per tile of keys, dq from one per tile of
// queries, so that nothing is added up in an order of chance.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/vector.h"
#include "wandistill/gpu.h"

namespace wandistill::WD_KERNELS {

/// delta [B, H, Lq] = sum over D of dout out: what softmax's gradient subtracts. A warp per row and head.
template <class T>
__global__ void __launch_bounds__(256)
    attention_delta_kernel(const AttentionShape shape, const T* __restrict__ out, const T* __restrict__ dout,
                           float* __restrict__ delta) {
  const int64_t row = int64_t{blockIdx.x} * 8 + threadIdx.x / 32;  // of [B, Lq, H]
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t rows = shape.batch * shape.queries * shape.heads;
  float sum = 0;
  if (row < rows)
    for (int64_t d = lane; d < shape.head_dim; d += 32)
      sum += widen(out[row * shape.head_dim + d]) * widen(dout[row * shape.head_dim + d]);
  sum = warp_sum(sum);
  if (lane != 0 || row >= rows) return;
  const int64_t head = row % shape.heads, query = row / shape.heads;
  const int64_t sample = query / shape.queries;
  delta[(sample * shape.heads + head) * shape.queries + query - sample * shape.queries] = sum;
}

/// How the queries are divided among blocks that work on the same keys.
struct QuerySplit {
  int parts;
  int64_t rows;  // of each part, a multiple of the kernels' tiles
};

/// By shape alone: enough blocks to fill a GPU, parts of at least 256 queries, 16 at most.
inline QuerySplit split_queries(const AttentionShape& s, int64_t key_tiles) {
  constexpr int64_t kEnoughBlocks = 264, kFewestRows = 256, kMost = 16;
  const int64_t blocks = key_tiles * s.heads * s.batch;
  int64_t parts = blocks > 0 ? (kEnoughBlocks + blocks - 1) / blocks : 1;
  const int64_t possible = (s.queries + kFewestRows - 1) / kFewestRows;
  if (parts > possible) parts = possible;
  if (parts > kMost) parts = kMost;
  const int64_t rows = ((s.queries + parts - 1) / parts + 63) / 64 * 64;
  return {static_cast<int>((s.queries + rows - 1) / rows), rows};
}

/// dk and dv = the sums over the parts of partial [parts, 2, B, max_keys, H * D].
template <class T>
__global__ void __launch_bounds__(256)
    attention_sum_parts_kernel(const AttentionShape shape, int parts, const float* __restrict__ partial,
                               T* __restrict__ dk, T* __restrict__ dv) {
  const int64_t stride = shape.heads * shape.head_dim;
  const int64_t of_sample = shape.max_keys * stride, of_tensor = shape.batch * of_sample;
  const int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x, sample = blockIdx.y;
  const int64_t first = shape.key_offsets[sample], keys = shape.key_offsets[sample + 1] - first;
  if (i >= keys * stride) return;
  for (int tensor = 0; tensor < 2; ++tensor) {
    float sum = 0;
    for (int part = 0; part < parts; ++part)
      sum += partial[(2 * part + tensor) * of_tensor + sample * of_sample + i];
    (tensor == 0 ? dk : dv)[first * stride + i] = narrow<T>(sum);
  }
}

/// Where a block of part `part` leaves dk (tensor 0) or dv (1): the tensor itself or, if there are several
/// parts, its partial sums.
template <class T>
struct KeyGradient {
  T* tensor;
  float* partial;  // null: there is one part

  __device__ __forceinline__ void write(const AttentionShape& s, const HeadView& head, int which, int part,
                                        int64_t sample, int64_t head_index, int64_t key, int64_t column,
                                        float value) const {
    if (partial == nullptr) {
      tensor[head.at_key + key * head.stride + column] = narrow<T>(value);
      return;
    }
    const int64_t of_sample = s.max_keys * head.stride;
    partial[((2 * part + which) * s.batch + sample) * of_sample + key * head.stride +
            head_index * s.head_dim + column] = value;
  }
};

template <class T>
void launch_delta(const AttentionShape& s, const T* out, const T* dout, float* delta, const Queue& queue) {
  launch(queue, static_cast<unsigned>((s.batch * s.queries * s.heads + 7) / 8), 256, 0,
         attention_delta_kernel<T>, s, out, dout, delta);
}

template <class T>
void launch_sum_parts(const AttentionShape& s, int parts, const float* partial, T* dk, T* dv,
                      const Queue& queue) {
  const int64_t elements = s.max_keys * s.heads * s.head_dim;
  launch(queue, dim3(static_cast<unsigned>((elements + 255) / 256), static_cast<unsigned>(s.batch)), 256, 0,
         attention_sum_parts_kernel<T>, s, parts, partial, dk, dv);
}

}  // namespace wandistill::WD_KERNELS
