// Attention, forward (ops/attention.h), in bf16 on tensor cores: FlashAttention-2 (Dao 2023,
// https://arxiv.org/abs/2307.08691). A warp has 16 queries, whose output stays in registers; keys and values
// come in tiles, the next one while the present one is worked on. Heads wider than 128 are done in slices of
// 128 output columns, each of which forms the scores anew.
#include <cmath>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_forward_float.h"
#include "kernels/cuda/fragments.h"

namespace wandistill::WD_KERNELS {
namespace {

/// The running softmax of the two rows that a lane has a part of, and their weighted sums of v.
template <int kColumns>
struct Accumulator {
  float sums[kColumns / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY};  // in units of log 2, as all scores here
  float total[2] = {};
};

/// Scores become weights; the accumulator is rescaled to the new maximum. first: the tile's first key.
template <int kKeys, int kColumns>
__device__ __forceinline__ void softmax_step(float (&scores)[kKeys / 8][4], Accumulator<kColumns>& acc,
                                             const HeadView& head, int64_t first, float scale) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int left = static_cast<int>(head.keys - first < kKeys ? head.keys - first : kKeys);
  const int last = first + left == head.keys ? left - 1 : -1;  // the biased one, if it is in this tile
  float largest[2] = {acc.maximum[0], acc.maximum[1]}, sum[2] = {}, rescale[2];
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = n * 8 + lane % 4 * 2 + e % 2;
      float score = scores[n][e] * scale;
      if (key == last) score += head.bias * kLog2E;
      scores[n][e] = key < left ? score : -INFINITY;
      largest[e / 2] = fmaxf(largest[e / 2], scores[n][e]);
    }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    for (int bits = 1; bits <= 2; ++bits)
      largest[r] = fmaxf(largest[r], __shfl_xor_sync(~0u, largest[r], bits));
    rescale[r] = exp2f(acc.maximum[r] - largest[r]);
    acc.maximum[r] = largest[r];
  }
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      scores[n][e] = exp2f(scores[n][e] - largest[e / 2]);
      sum[e / 2] += scores[n][e];
    }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    for (int bits = 1; bits <= 2; ++bits) sum[r] += __shfl_xor_sync(~0u, sum[r], bits);
    acc.total[r] = acc.total[r] * rescale[r] + sum[r];
  }
#pragma unroll
  for (int d = 0; d < kColumns / 8; ++d)
#pragma unroll
    for (int e = 0; e < 4; ++e) acc.sums[d][e] *= rescale[e / 2];
}

template <int kKeys, int kColumns, int kStride>
__device__ __forceinline__ void add_values(Accumulator<kColumns>& acc, const float (&weights)[kKeys / 8][4],
                                           const bf16* tile_v) {
#pragma unroll
  for (int n = 0; n < kKeys / 16; ++n) {
    uint32_t a[4];
    to_a(a, weights[2 * n], weights[2 * n + 1]);
#pragma unroll
    for (int d = 0; d < kColumns / 16; ++d) {
      uint32_t b[4];
      load_b_columns<kStride>(b, tile_v, n * 16, d * 16);
      mma_m16n8k16<bf16>(acc.sums[2 * d], a, b[0], b[1]);
      mma_m16n8k16<bf16>(acc.sums[2 * d + 1], a, b[2], b[3]);
    }
  }
}

/// Writes the warp's 16 rows from `first` on: `columns` (at most kColumns) of the head.
template <int kColumns>
__device__ __forceinline__ void store_rows(const Accumulator<kColumns>& acc, const HeadView& head,
                                           int64_t first, int columns, bf16* out, float* log_sum_exp) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int64_t row = first + lane / 4 + r * 8;
    if (row >= head.queries) continue;
    const float inverse = 1 / acc.total[r];
#pragma unroll
    for (int d = 0; d < kColumns / 8; ++d)
      if (d * 8 < columns)
        *reinterpret_cast<uint32_t*>(out + row * head.stride + d * 8 + lane % 4 * 2) =
            pack2<bf16>(acc.sums[d][2 * r] * inverse, acc.sums[d][2 * r + 1] * inverse);
    if (log_sum_exp != nullptr && lane % 4 == 0)
      log_sum_exp[head.at_statistics + row] = acc.maximum[r] * kLn2 + logf(acc.total[r]);
  }
}

/// Head dims up to 128: the queries' fragments stay in registers. Grid: query tiles, heads, samples.
template <int kDim, int kWarps>
struct Narrow {
  static constexpr int kRows = 16 * kWarps, kKeys = 64, kThreads = 32 * kWarps, kStride = kTileStride<kDim>;
  static constexpr size_t kSharedBytes = (kRows + 4 * kKeys) * size_t{kStride} * sizeof(bf16);
};

template <int kDim, int kWarps>
__global__ void __launch_bounds__(32 * kWarps)
    attention_forward_kernel(const AttentionShape shape, const bf16* __restrict__ q,
                             const bf16* __restrict__ k, const bf16* __restrict__ v, bf16* __restrict__ out,
                             float* __restrict__ log_sum_exp) {
  using Plan = Narrow<kDim, kWarps>;
  constexpr int kKeys = Plan::kKeys, kStride = Plan::kStride, kTile = kKeys * kStride;
  WD_DYNAMIC_SHARED(bf16, tiles);
  bf16 *tile_q = tiles, *tiles_k = tile_q + Plan::kRows * kStride, *tiles_v = tiles_k + 2 * kTile;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const HeadView head(shape, blockIdx.z, blockIdx.y);
  const int64_t first = int64_t{blockIdx.x} * Plan::kRows, tiles_of_keys = (head.keys + kKeys - 1) / kKeys;
  const auto fetch_keys = [&](int64_t tile) {
    const int64_t at = tile % 2 * kTile;
    fetch_tile<kKeys, kDim, Plan::kThreads>(tiles_k + at, k + head.at_key, head.stride, tile * kKeys,
                                            head.keys);
    fetch_tile<kKeys, kDim, Plan::kThreads>(tiles_v + at, v + head.at_key, head.stride, tile * kKeys,
                                            head.keys);
  };
  fetch_tile<Plan::kRows, kDim, Plan::kThreads>(tile_q, q + head.at_query, head.stride, first, head.queries);
  fetch_keys(0);
  cp_async_commit();
  const float scale = shape.scale * kLog2E;
  uint32_t fragments[kDim / 16][4];
  Accumulator<kDim> acc;
  for (int64_t tile = 0; tile < tiles_of_keys; ++tile) {
    if (tile + 1 < tiles_of_keys) fetch_keys(tile + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    if (tile == 0)
#pragma unroll
      for (int d = 0; d < kDim / 16; ++d) load_a<kStride>(fragments[d], tile_q, warp * 16, d * 16);
    const bf16* tile_k = tiles_k + tile % 2 * kTile;
    float scores[kKeys / 8][4] = {};
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d)
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        load_b_rows<kStride>(b, tile_k, n * 16, d * 16);
        mma_m16n8k16<bf16>(scores[2 * n], fragments[d], b[0], b[1]);
        mma_m16n8k16<bf16>(scores[2 * n + 1], fragments[d], b[2], b[3]);
      }
    softmax_step<kKeys>(scores, acc, head, tile * kKeys, scale);
    add_values<kKeys, kDim, kStride>(acc, scores, tiles_v + tile % 2 * kTile);
    __syncthreads();
  }
  cp_async_wait<0>();
  store_rows(acc, head, first + warp * 16, kDim, out + head.at_query, log_sum_exp);
}

/// Wider heads, up to kDim: queries stay in shared memory. Grid: query tiles, heads,
/// samples x slices of 128 output columns.
constexpr int kSlice = 128, kWideWarps = 4, kWideRows = 16 * kWideWarps, kWideKeys = 32,
              kWideThreads = 32 * kWideWarps;
template <int kDim>
constexpr size_t kWideBytes = ((kWideRows + 2 * kWideKeys) * size_t{kTileStride<kDim>} +
                               2 * kWideKeys * size_t{kTileStride<kSlice>}) *
                              sizeof(bf16);

/// fetch_tile of `columns` columns, zeros up to kColumns.
template <int kRows, int kColumns, int kThreads>
__device__ __forceinline__ void fetch_columns(bf16* tile, const bf16* tensor, int64_t stride, int64_t first,
                                              int64_t rows, int columns) {
  constexpr int kPieces = kColumns / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kPieces; i += kThreads) {
    const int row = i / kPieces, column = i % kPieces * 8;
    const bool valid = first + row < rows && column < columns;
    cp_async16(tile + row * kTileStride<kColumns> + column,
               valid ? tensor + (first + row) * stride + column : tensor, valid);
  }
}

template <int kDim>
__global__ void __launch_bounds__(kWideThreads)
    attention_wide_kernel(const AttentionShape shape, int slices, const bf16* __restrict__ q,
                          const bf16* __restrict__ k, const bf16* __restrict__ v, bf16* __restrict__ out,
                          float* __restrict__ log_sum_exp) {
  constexpr int kStride = kTileStride<kDim>, kTile = kWideKeys * kStride;
  constexpr int kValueStride = kTileStride<kSlice>, kValueTile = kWideKeys * kValueStride;
  WD_DYNAMIC_SHARED(bf16, tiles);
  bf16 *tile_q = tiles, *tiles_k = tile_q + kWideRows * kStride, *tiles_v = tiles_k + 2 * kTile;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int slice = static_cast<int>(blockIdx.z) % slices * kSlice, dim = static_cast<int>(shape.head_dim);
  const HeadView head(shape, blockIdx.z / static_cast<unsigned>(slices), blockIdx.y);
  const int64_t first = int64_t{blockIdx.x} * kWideRows,
                tiles_of_keys = (head.keys + kWideKeys - 1) / kWideKeys;
  const auto fetch_keys = [&](int64_t tile) {
    fetch_columns<kWideKeys, kDim, kWideThreads>(tiles_k + tile % 2 * kTile, k + head.at_key, head.stride,
                                                 tile * kWideKeys, head.keys, dim);
    fetch_columns<kWideKeys, kSlice, kWideThreads>(tiles_v + tile % 2 * kValueTile, v + head.at_key + slice,
                                                   head.stride, tile * kWideKeys, head.keys, dim - slice);
  };
  fetch_columns<kWideRows, kDim, kWideThreads>(tile_q, q + head.at_query, head.stride, first, head.queries,
                                               dim);
  fetch_keys(0);
  cp_async_commit();
  const float scale = shape.scale * kLog2E;
  Accumulator<kSlice> acc;
  for (int64_t tile = 0; tile < tiles_of_keys; ++tile) {
    if (tile + 1 < tiles_of_keys) fetch_keys(tile + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const bf16* tile_k = tiles_k + tile % 2 * kTile;
    float scores[kWideKeys / 8][4] = {};
    for (int d = 0; d < dim; d += 16) {
      uint32_t a[4], b[4];
      load_a<kStride>(a, tile_q, warp * 16, d);
#pragma unroll
      for (int n = 0; n < kWideKeys / 16; ++n) {
        load_b_rows<kStride>(b, tile_k, n * 16, d);
        mma_m16n8k16<bf16>(scores[2 * n], a, b[0], b[1]);
        mma_m16n8k16<bf16>(scores[2 * n + 1], a, b[2], b[3]);
      }
    }
    softmax_step<kWideKeys>(scores, acc, head, tile * kWideKeys, scale);
    add_values<kWideKeys, kSlice, kValueStride>(acc, scores, tiles_v + tile % 2 * kValueTile);
    __syncthreads();
  }
  cp_async_wait<0>();
  store_rows(acc, head, first + warp * 16, dim - slice, out + head.at_query + slice,
             slice == 0 ? log_sum_exp : nullptr);
}

template <int kDim, int kWarps>
void launch_narrow(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v, bf16* out,
                   float* lse, const Queue& queue) {
  using Plan = Narrow<kDim, kWarps>;
  const dim3 grid(static_cast<unsigned>((s.queries + Plan::kRows - 1) / Plan::kRows),
                  static_cast<unsigned>(s.heads), static_cast<unsigned>(s.batch));
  launch(queue, grid, Plan::kThreads, Plan::kSharedBytes, attention_forward_kernel<kDim, kWarps>, s, q, k, v,
         out, lse);
}

template <int kDim>
void launch_wide(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v, bf16* out, float* lse,
                 const Queue& queue) {
  const int slices = static_cast<int>((s.head_dim + kSlice - 1) / kSlice);
  const dim3 grid(static_cast<unsigned>((s.queries + kWideRows - 1) / kWideRows),
                  static_cast<unsigned>(s.heads), static_cast<unsigned>(s.batch * slices));
  launch(queue, grid, kWideThreads, kWideBytes<kDim>, attention_wide_kernel<kDim>, s, slices, q, k, v, out,
         lse);
}

void attention_forward(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v, bf16* out,
                       float* log_sum_exp, const Queue& queue) {
  require_aligned(q, k, v, out);
  const auto run = [&](auto* launcher) { launcher(s, q, k, v, out, log_sum_exp, queue); };
  switch (s.head_dim) {
    case 16:
      return run(launch_narrow<16, 4>);
    case 32:
      return run(launch_narrow<32, 4>);
    case 48:
      return run(launch_narrow<48, 4>);
    case 64:
      return run(launch_narrow<64, 8>);
    case 80:
      return run(launch_narrow<80, 4>);
    case 96:
      return run(launch_narrow<96, 4>);
    case 112:
      return run(launch_narrow<112, 4>);
    case 128:
      return run(launch_narrow<128, 8>);
    default:
      break;
  }
  if (s.head_dim % 16 != 0 || s.head_dim > 512)
    fail("attention in bfloat16: head dim ", s.head_dim, " is not supported; a multiple of 16 up to 512 is");
  run(s.head_dim <= 256 ? launch_wide<256> : s.head_dim <= 384 ? launch_wide<384> : launch_wide<512>);
}

void attention_forward(const AttentionShape& s, const float* q, const float* k, const float* v, float* out,
                       float* log_sum_exp, const Queue& queue) {
  launch_attention_forward_float(s, q, k, v, out, log_sum_exp, queue);
}

}  // namespace

template <class T>
void add_attention_forward(OpsOf<T>& ops) {
  ops.attention_forward = attention_forward;
}
template void add_attention_forward(OpsOf<float>&);
template void add_attention_forward(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
