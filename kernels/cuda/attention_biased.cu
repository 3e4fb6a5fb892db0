// T5's attention (ops/attention_biased.h): softmax with a bias of the distance, over tiles of keys. A warp
// has 8 queries; its lanes are the tile's keys for the scores and the output's columns for the sums. Products
// in float32 for both T: prompts have a few hundred tokens, and the encoder runs once for each.
#include <cmath>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kOwn = 8, kQueries = kOwn * kWarps, kKeys = 32;
constexpr int kDims = 64;           // of heads at a time; T5's have no more
constexpr int kStride = kDims + 4;  // lanes that read 16 bytes of a row each meet no bank twice

using Tile = float[kKeys][kStride];
static_assert(kQueries == kKeys);  // one kind of tile for all

/// tile = rows [first, first + 32) and columns [column, column + kDims) of a tensor [rows, D] with this
/// stride; zeros outside of it.
template <class T>
__device__ __forceinline__ void load_tile(const T* tensor, int64_t stride, int64_t rows, int64_t first,
                                          int64_t D, int64_t column, bool vectors, Tile& tile) {
  const auto fill = [&]<int N>(int i, float(&values)[N]) {
    const int r = i / (kDims / N), c = i % (kDims / N) * N;
    if (first + r < rows && column + c < D) load(tensor + (first + r) * stride + column + c, values);
    for (int e = 0; e < N; ++e) tile[r][c + e] = values[e];
  };
  constexpr int N = kVector<T>;
  if (vectors) {
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x); i < kKeys * kDims / N; i += kThreads) {
      float values[N] = {};
      fill(i, values);
    }
  } else {
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kKeys * kDims; i += kThreads) {
      float values[1] = {};
      fill(i, values);
    }
  }
}

/// Grid: tiles of queries, heads, slices of kDims output columns.
template <class T>
__global__ void __launch_bounds__(kThreads, 4)
    attention_biased_kernel(const AttentionBiasedShape shape, bool vectors, const T* __restrict__ q,
                            const T* __restrict__ k, const T* __restrict__ v,
                            const float* __restrict__ relative_bias, T* __restrict__ out) {
  WD_SHARED(float, q_tile, [kKeys][kStride]);
  WD_SHARED(float, k_tile, [kKeys][kStride]);
  WD_SHARED(float, v_tile, [kKeys][kStride]);
  WD_SHARED(float, weights, [kQueries][kKeys]);
  const int lane = static_cast<int>(threadIdx.x) % 32, own = static_cast<int>(threadIdx.x) / 32 * kOwn;
  const int64_t D = shape.head_dim, stride = shape.heads * D, head = blockIdx.y;
  const int64_t first_query = int64_t{blockIdx.x} * kQueries, slice = int64_t{blockIdx.z} * kDims;
  const float* bias = relative_bias + head * (shape.queries + shape.keys - 1) + shape.queries - 1;
  float maximum[kOwn], total[kOwn] = {}, sums[kOwn][2] = {};
  for (float& m : maximum) m = -INFINITY;
  for (int64_t first_key = 0; first_key < shape.keys; first_key += kKeys) {
    float score[kOwn] = {};
    for (int64_t column = 0; column < D; column += kDims) {
      __syncthreads();  // the tiles are no longer needed
      if (first_key == 0 || D > kDims)
        load_tile(q + head * D, stride, shape.queries, first_query, D, column, vectors, q_tile);
      load_tile(k + head * D, stride, shape.keys, first_key, D, column, vectors, k_tile);
      if (column == 0) load_tile(v + head * D, stride, shape.keys, first_key, D, slice, vectors, v_tile);
      __syncthreads();
#pragma unroll 1
      for (int d = 0; d < kDims; d += 4) {
        float key[4], query[4];
        load(&k_tile[lane][d], key);
#pragma unroll
        for (int i = 0; i < kOwn; ++i) {
          load(&q_tile[own + i][d], query);
#pragma unroll
          for (int e = 0; e < 4; ++e) score[i] += query[e] * key[e];
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int64_t query = first_query + own + i, key = first_key + lane;
      float s = -INFINITY;
      if (key < shape.keys && query < shape.queries) s = score[i] * shape.scale + bias[key - query];
      if (query >= shape.queries) s = 0;  // not stored
      float largest = fmaxf(maximum[i], s);
      for (int bits = 16; bits > 0; bits /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, bits));
      const float rescale = __expf(maximum[i] - largest), weight = __expf(s - largest);
      maximum[i] = largest;
      total[i] = total[i] * rescale + weight;  // the lane's own keys
      sums[i][0] *= rescale;
      sums[i][1] *= rescale;
      weights[own + i][lane] = weight;
    }
    __syncwarp();
#pragma unroll 1
    for (int j = 0; j < kKeys; j += 4) {
      float weight[4];
#pragma unroll
      for (int i = 0; i < kOwn; ++i) {
        load(&weights[own + i][j], weight);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          sums[i][0] += weight[e] * v_tile[j + e][lane];
          sums[i][1] += weight[e] * v_tile[j + e][lane + 32];
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const int64_t query = first_query + own + i;
    const float all = warp_sum(total[i]);
    if (query >= shape.queries) continue;
    for (int half = 0; half < 2; ++half) {
      const int64_t column = slice + half * 32 + lane;
      if (column < D) out[query * stride + head * D + column] = narrow<T>(sums[i][half] / all);
    }
  }
}

template <class T>
void attention_biased_forward(const AttentionBiasedShape& shape, const T* q, const T* k, const T* v,
                              const float* relative_bias, T* out, const Queue& queue) {
  const bool vectors = shape.head_dim % kVector<T> == 0 && aligned<kVector<T>>(q, k, v);
  const dim3 grid(static_cast<unsigned>((shape.queries + kQueries - 1) / kQueries),
                  static_cast<unsigned>(shape.heads),
                  static_cast<unsigned>((shape.head_dim + kDims - 1) / kDims));
  launch(queue, grid, kThreads, 0, attention_biased_kernel<T>, shape, vectors, q, k, v, relative_bias, out);
}

}  // namespace

template <class T>
void add_attention_biased(OpsOf<T>& ops) {
  ops.attention_biased_forward = attention_biased_forward<T>;
}
template void add_attention_biased(OpsOf<float>&);
template void add_attention_biased(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
