// T5's attention (ops/attention_biased.h): softmax with a bias of the distance. Prompts have at most a few
// hundred tokens, and the encoder runs once for each: a warp per query and head, which holds a share of the
// scores and of the output in its lanes.
#include <cmath>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kColumns = 8;  // of the output in a lane: head dims up to 256 in one pass over the keys

/// Grid: queries by kWarps, heads, slices of 32 kColumns output columns. Keys come 32 at a time, one per
/// lane.
template <class T>
__global__ void __launch_bounds__(kThreads)
    attention_biased_kernel(const AttentionBiasedShape shape, const T* __restrict__ q,
                            const T* __restrict__ k, const T* __restrict__ v,
                            const float* __restrict__ relative_bias, T* __restrict__ out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t query = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32, head = blockIdx.y;
  if (query >= shape.queries) return;  // of the whole warp, and there is no barrier
  const int64_t D = shape.head_dim, stride = shape.heads * D, first = int64_t{blockIdx.z} * 32 * kColumns;
  const T* own = q + query * stride + head * D;
  const float* bias = relative_bias + head * (shape.queries + shape.keys - 1) + shape.queries - 1 - query;
  float maximum = -INFINITY, total = 0, sums[kColumns] = {};
  for (int64_t at = 0; at < shape.keys; at += 32) {
    const int64_t key = at + lane;
    float score = -INFINITY;
    if (key < shape.keys) {
      const T* other = k + key * stride + head * D;
      float dot = 0;
      for (int64_t d = 0; d < D; ++d) dot += widen(own[d]) * widen(other[d]);
      score = dot * shape.scale + bias[key];
    }
    float largest = fmaxf(maximum, score);
    for (int bits = 16; bits > 0; bits /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, bits));
    const float rescale = expf(maximum - largest), weight = expf(score - largest);
    maximum = largest;
    total = total * rescale + warp_sum(weight);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) sums[c] *= rescale;
    const int left = static_cast<int>(shape.keys - at < 32 ? shape.keys - at : 32);
    for (int j = 0; j < left; ++j) {
      const float of_key = __shfl_sync(~0u, weight, j);
      const T* value = v + (at + j) * stride + head * D;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const int64_t column = first + c * 32 + lane;
        if (column < D) sums[c] += of_key * widen(value[column]);
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const int64_t column = first + c * 32 + lane;
    if (column < D) out[query * stride + head * D + column] = narrow<T>(sums[c] / total);
  }
}

template <class T>
void attention_biased_forward(const AttentionBiasedShape& shape, const T* q, const T* k, const T* v,
                              const float* relative_bias, T* out, const Queue& queue) {
  const dim3 grid(static_cast<unsigned>((shape.queries + kWarps - 1) / kWarps),
                  static_cast<unsigned>(shape.heads),
                  static_cast<unsigned>((shape.head_dim + 32 * kColumns - 1) / (32 * kColumns)));
  launch(queue, grid, kThreads, 0, attention_biased_kernel<T>, shape, q, k, v, relative_bias, out);
}

}  // namespace

template <class T>
void add_attention_biased(OpsOf<T>& ops) {
  ops.attention_biased_forward = attention_biased_forward<T>;
}
template void add_attention_biased(OpsOf<float>&);
template void add_attention_biased(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
