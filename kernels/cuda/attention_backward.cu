// Attention, backward (ops/attention.h). In bf16 on tensor cores: a warp has 16 keys (for dk and dv) or 16
// queries (for dq), whose gradients stay in registers; the other side comes in tiles, the next one while the
// present one is worked on. The weights and the scores' gradients are rounded to bf16 for the products.
#include <cmath>

#include "kernels/cuda/attention_backward.h"
#include "kernels/cuda/attention_backward_float.h"
#include "kernels/cuda/fragments.h"
#include "kernels/cuda/launch_shared.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kOwn = 16 * kWarps;  // rows of a block
/// Rows of the other side's tiles: as many as the registers allow.
template <int kDim>
constexpr int kOthers = kDim > 64 ? 32 : 64;
/// Two tiles of the block's own rows, two of each of the other side's, and two of its statistics.
template <int kDim>
constexpr size_t kSharedBytes = (2 * kOwn + 4 * kOthers<kDim>)*size_t{kTileStride<kDim>} * sizeof(bf16) +
                                2 * 2 * kOthers<kDim> * sizeof(float);

/// products [16 own rows, kOthers] = own . other^T, rows of tiles.
template <int kDim>
__device__ __forceinline__ void multiply_rows(float (&products)[kOthers<kDim> / 8][4], const bf16* own,
                                              int row, const bf16* other) {
  constexpr int kStride = kTileStride<kDim>;
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
    uint32_t a[4];
    load_a<kStride>(a, own, row, d * 16);
#pragma unroll
    for (int n = 0; n < kOthers<kDim> / 16; ++n) {
      uint32_t b[4];
      load_b_rows<kStride>(b, other, n * 16, d * 16);
      mma_m16n8k16<bf16>(products[2 * n], a, b[0], b[1]);
      mma_m16n8k16<bf16>(products[2 * n + 1], a, b[2], b[3]);
    }
  }
}

/// sums [16 own rows, kDim] += factors [16, kOthers] . other [kOthers, kDim].
template <int kDim>
__device__ __forceinline__ void add_products(float (&sums)[kDim / 8][4],
                                             const float (&factors)[kOthers<kDim> / 8][4],
                                             const bf16* other) {
#pragma unroll
  for (int n = 0; n < kOthers<kDim> / 16; ++n) {
    uint32_t a[4];
    to_a(a, factors[2 * n], factors[2 * n + 1]);
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      uint32_t b[4];
      load_b_columns<kTileStride<kDim>>(b, other, n * 16, d * 16);
      mma_m16n8k16<bf16>(sums[2 * d], a, b[0], b[1]);
      mma_m16n8k16<bf16>(sums[2 * d + 1], a, b[2], b[3]);
    }
  }
}

/// Grid: key tiles, heads, samples x parts of the queries. Scores are transposed: own rows are keys.
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    attention_dkdv_kernel(const AttentionShape shape, const QuerySplit split, const bf16* __restrict__ q,
                          const bf16* __restrict__ k, const bf16* __restrict__ v,
                          const float* __restrict__ log_sum_exp, const float* __restrict__ delta,
                          const bf16* __restrict__ dout, const KeyGradient<bf16> dk,
                          const KeyGradient<bf16> dv) {
  constexpr int kStride = kTileStride<kDim>, kQueries = kOthers<kDim>, kTile = kQueries * kStride;
  WD_DYNAMIC_SHARED(bf16, tiles);
  bf16 *tile_k = tiles, *tile_v = tile_k + kOwn * kStride, *tiles_q = tile_v + kOwn * kStride,
       *tiles_dout = tiles_q + 2 * kTile;
  float* statistics = reinterpret_cast<float*>(tiles_dout + 2 * kTile);  // [2][log_sum_exp, delta][kQueries]
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int part = static_cast<int>(blockIdx.z) % split.parts;
  const int64_t sample = blockIdx.z / static_cast<unsigned>(split.parts);
  const HeadView head(shape, sample, blockIdx.y);
  const int64_t first = int64_t{blockIdx.x} * kOwn;
  if (first >= head.keys) return;  // of the whole block
  const int64_t begin = part * split.rows,
                end = begin + split.rows < head.queries ? begin + split.rows : head.queries;
  const int tiles_of_queries = static_cast<int>((end - begin + kQueries - 1) / kQueries);
  const auto fetch_queries = [&](int tile) {
    const int64_t row = begin + int64_t{tile} * kQueries;
    const int at = tile % 2 * kTile;
    fetch_tile<kQueries, kDim, kThreads>(tiles_q + at, q + head.at_query, head.stride, row, end);
    fetch_tile<kQueries, kDim, kThreads>(tiles_dout + at, dout + head.at_query, head.stride, row, end);
  };
  // A thread's element of a tile's statistics: read early, kept when the tile before is done with. Behind the
  // last query the weight becomes exp(-infinity).
  static_assert(2 * kQueries <= kThreads);
  const int mine = static_cast<int>(threadIdx.x);
  const auto read_statistic = [&](int tile) {
    const int64_t query = begin + int64_t{tile} * kQueries + mine % kQueries;
    const bool is_lse = mine < kQueries;
    if (query >= end || mine >= 2 * kQueries) return is_lse ? INFINITY : 0;
    return (is_lse ? log_sum_exp : delta)[head.at_statistics + query] * (is_lse ? kLog2E : 1);
  };
  const auto keep_statistic = [&](int tile, float value) {
    if (mine < 2 * kQueries) statistics[tile % 2 * 2 * kQueries + mine] = value;
  };
  fetch_tile<kOwn, kDim, kThreads>(tile_k, k + head.at_key, head.stride, first, head.keys);
  fetch_tile<kOwn, kDim, kThreads>(tile_v, v + head.at_key, head.stride, first, head.keys);
  fetch_queries(0);
  cp_async_commit();
  keep_statistic(0, read_statistic(0));
  const float scale = shape.scale * kLog2E;
  float bias[2];  // of the thread's keys' scores
#pragma unroll
  for (int r = 0; r < 2; ++r)
    bias[r] = first + warp * 16 + lane / 4 + r * 8 == head.keys - 1 ? head.bias * kLog2E : 0;
  float sum_k[kDim / 8][4] = {}, sum_v[kDim / 8][4] = {};
  for (int tile = 0; tile < tiles_of_queries; ++tile) {
    if (tile + 1 < tiles_of_queries) fetch_queries(tile + 1);
    cp_async_commit();
    const float next = read_statistic(tile + 1);
    cp_async_wait<1>();
    __syncthreads();
    const bf16 *tile_q = tiles_q + tile % 2 * kTile, *tile_dout = tiles_dout + tile % 2 * kTile;
    const float *lse = statistics + tile % 2 * 2 * kQueries, *deltas = lse + kQueries;
    float weights[kQueries / 8][4] = {}, gradients[kQueries / 8][4] = {};
    multiply_rows<kDim>(weights, tile_k, warp * 16, tile_q);
    multiply_rows<kDim>(gradients, tile_v, warp * 16, tile_dout);
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int query = n * 8 + lane % 4 * 2 + e % 2;
        weights[n][e] = exp2f(weights[n][e] * scale - lse[query] + bias[e / 2]);
        gradients[n][e] = weights[n][e] * (gradients[n][e] - deltas[query]) * shape.scale;
      }
    add_products<kDim>(sum_v, weights, tile_dout);
    add_products<kDim>(sum_k, gradients, tile_q);
    keep_statistic(tile + 1, next);
    __syncthreads();
  }
  cp_async_wait<0>();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int64_t key = first + warp * 16 + lane / 4 + r * 8;
    if (key >= head.keys) continue;
    const int64_t at_k = dk.at(shape, head, 0, part, sample, blockIdx.y, key) + lane % 4 * 2,
                  at_v = dv.at(shape, head, 1, part, sample, blockIdx.y, key) + lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      dk.write(at_k + d * 8, {sum_k[d][2 * r], sum_k[d][2 * r + 1]});
      dv.write(at_v + d * 8, {sum_v[d][2 * r], sum_v[d][2 * r + 1]});
    }
  }
}

/// Grid: query tiles, heads, samples.
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    attention_dq_kernel(const AttentionShape shape, const bf16* __restrict__ q, const bf16* __restrict__ k,
                        const bf16* __restrict__ v, const float* __restrict__ log_sum_exp,
                        const float* __restrict__ delta, const bf16* __restrict__ dout,
                        bf16* __restrict__ dq) {
  constexpr int kStride = kTileStride<kDim>, kKeys = kOthers<kDim>, kTile = kKeys * kStride;
  WD_DYNAMIC_SHARED(bf16, tiles);
  bf16 *tile_q = tiles, *tile_dout = tile_q + kOwn * kStride, *tiles_k = tile_dout + kOwn * kStride,
       *tiles_v = tiles_k + 2 * kTile;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const HeadView head(shape, blockIdx.z, blockIdx.y);
  const int64_t first = int64_t{blockIdx.x} * kOwn, tiles_of_keys = (head.keys + kKeys - 1) / kKeys;
  const auto fetch_keys = [&](int64_t tile) {
    const int64_t at = tile % 2 * kTile;
    fetch_tile<kKeys, kDim, kThreads>(tiles_k + at, k + head.at_key, head.stride, tile * kKeys, head.keys);
    fetch_tile<kKeys, kDim, kThreads>(tiles_v + at, v + head.at_key, head.stride, tile * kKeys, head.keys);
  };
  fetch_tile<kOwn, kDim, kThreads>(tile_q, q + head.at_query, head.stride, first, head.queries);
  fetch_tile<kOwn, kDim, kThreads>(tile_dout, dout + head.at_query, head.stride, first, head.queries);
  fetch_keys(0);
  cp_async_commit();
  const float scale = shape.scale * kLog2E, bias = head.bias * kLog2E;
  float lse[2], deltas[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int64_t query = first + warp * 16 + lane / 4 + r * 8;
    const bool valid = query < head.queries;
    lse[r] = valid ? log_sum_exp[head.at_statistics + query] * kLog2E : INFINITY;
    deltas[r] = valid ? delta[head.at_statistics + query] : 0;
  }
  float sums[kDim / 8][4] = {};
  for (int64_t tile = 0; tile < tiles_of_keys; ++tile) {
    if (tile + 1 < tiles_of_keys) fetch_keys(tile + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const bf16* tile_k = tiles_k + tile % 2 * kTile;
    const int64_t left = head.keys - tile * kKeys;  // this tile's keys and those behind
    const int last = left > kKeys ? kKeys : static_cast<int>(left) - 1;
    float weights[kKeys / 8][4] = {}, gradients[kKeys / 8][4] = {};
    multiply_rows<kDim>(weights, tile_q, warp * 16, tile_k);
    multiply_rows<kDim>(gradients, tile_dout, warp * 16, tiles_v + tile % 2 * kTile);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = n * 8 + lane % 4 * 2 + e % 2;
        const float offset = key < last ? 0 : key == last ? bias : -INFINITY;
        const float weight = exp2f(weights[n][e] * scale - lse[e / 2] + offset);
        gradients[n][e] = weight * (gradients[n][e] - deltas[e / 2]) * shape.scale;
      }
    add_products<kDim>(sums, gradients, tile_k);
    __syncthreads();
  }
  cp_async_wait<0>();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int64_t row = first + warp * 16 + lane / 4 + r * 8;
    if (row >= head.queries) continue;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d)
      *reinterpret_cast<uint32_t*>(dq + head.at_query + row * head.stride + d * 8 + lane % 4 * 2) =
          pack2<bf16>(sums[d][2 * r], sums[d][2 * r + 1]);
  }
}

template <int kDim>
void launch_backward(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v,
                     const float* log_sum_exp, const float* delta, const bf16* dout, bf16* dq, bf16* dk,
                     bf16* dv, const Queue& queue) {
  const int64_t key_tiles = (s.max_keys + kOwn - 1) / kOwn;
  const QuerySplit split = split_queries(s, key_tiles);
  DeviceBuffer<float> partial;
  if (split.parts > 1)
    partial =
        DeviceBuffer<float>(*queue.stream, split.parts * 2 * s.batch * s.max_keys * s.heads * s.head_dim);
  const unsigned heads = static_cast<unsigned>(s.heads), batch = static_cast<unsigned>(s.batch);
  launch_shared<attention_dkdv_kernel<kDim>, kSharedBytes<kDim>>(
      queue, dim3(static_cast<unsigned>(key_tiles), heads, batch * static_cast<unsigned>(split.parts)),
      kThreads, s, split, q, k, v, log_sum_exp, delta, dout, KeyGradient<bf16>{dk, partial.data()},
      KeyGradient<bf16>{dv, partial.data()});
  if (split.parts > 1) launch_sum_parts(s, split.parts, partial.data(), dk, dv, queue);
  launch_shared<attention_dq_kernel<kDim>, kSharedBytes<kDim>>(
      queue, dim3(static_cast<unsigned>((s.queries + kOwn - 1) / kOwn), heads, batch), kThreads, s, q, k, v,
      log_sum_exp, delta, dout, dq);
}

void attention_backward(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v, const bf16* out,
                        const float* log_sum_exp, const bf16* dout, bf16* dq, bf16* dk, bf16* dv,
                        const Queue& queue) {
  require_aligned(q, k, v, dout, dq, dk, dv);
  if (s.head_dim % 16 != 0 || s.head_dim > 128 || s.head_dim <= 0)
    fail("attention's backward pass in bfloat16: head dim ", s.head_dim,
         " is not supported; a multiple of 16 up to 128 is");
  DeviceBuffer<float> delta(*queue.stream, s.batch * s.heads * s.queries);
  launch_delta(s, out, dout, delta.data(), queue);
  if (attention_backward_on_hopper(s, q, k, v, log_sum_exp, delta.data(), dout, dq, dk, dv, queue)) return;
  constexpr decltype(&launch_backward<16>) kLaunchers[] = {
      launch_backward<16>, launch_backward<32>, launch_backward<48>,  launch_backward<64>,
      launch_backward<80>, launch_backward<96>, launch_backward<112>, launch_backward<128>};
  kLaunchers[s.head_dim / 16 - 1](s, q, k, v, log_sum_exp, delta.data(), dout, dq, dk, dv, queue);
}

void attention_backward(const AttentionShape& s, const float* q, const float* k, const float* v,
                        const float* out, const float* log_sum_exp, const float* dout, float* dq, float* dk,
                        float* dv, const Queue& queue) {
  if (s.head_dim > 128 || s.head_dim <= 0)
    fail("attention's backward pass: head dim ", s.head_dim, " is not supported; 1 to 128 are");
  DeviceBuffer<float> delta(*queue.stream, s.batch * s.heads * s.queries);
  launch_delta(s, out, dout, delta.data(), queue);
  const bool whole = s.head_dim % 4 == 0 && aligned<4>(q, k, v, dout, dq, dk, dv), wide = s.head_dim > 64;
  const auto launcher = whole ? (wide ? launch_backward_float<128, 4> : launch_backward_float<64, 4>)
                              : (wide ? launch_backward_float<128, 1> : launch_backward_float<64, 1>);
  launcher(s, q, k, v, log_sum_exp, delta.data(), dout, dq, dk, dv, queue);
}

}  // namespace

template <class T>
void add_attention_backward(OpsOf<T>& ops) {
  ops.attention_backward = attention_backward;
}
template void add_attention_backward(OpsOf<float>&);
template void add_attention_backward(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
