// Attention, forward (ops/attention.h), in bf16 on tensor cores: FlashAttention-2 (Dao 2023,
// https://arxiv.org/abs/2307.08691). A warp has 16 queries, which stay in registers as their output does;
// keys and values come in tiles, the next one while the present one is worked on. Heads wider than 128 are
// done in slices of 128 output columns, each of which forms the scores anew.
#include <cmath>

#include "kernels/cuda/attention_forward_float.h"
#include "kernels/cuda/attention_softmax.h"
#include "kernels/cuda/fragments.h"
#include "kernels/cuda/launch_shared.h"

namespace wandistill::WD_KERNELS {
namespace {

/// In a sample's last tile, the scores are multiplied by scale, one key is biased, and there are none behind
/// it. first: the tile's first key. Returns what the scores are still to be multiplied by.
template <int kKeys>
__device__ __forceinline__ float mask_scores(float (&scores)[kKeys / 8][4], const HeadView& head,
                                             int64_t first, float scale) {
  if (head.keys - first > kKeys) return scale;
  const int last = static_cast<int>(head.keys - first) - 1 - static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = n * 8 + e % 2;  // counted, as `last`, from this lane's first one
      float score = scores[n][e] * scale;
      if (key == last) score += head.bias * kLog2E;
      scores[n][e] = key <= last ? score : -INFINITY;
    }
  return 1;
}

template <int kKeys, int kColumns>
__device__ __forceinline__ void add_values(Accumulator<kColumns>& acc, const float (&weights)[kKeys / 8][4],
                                           const bf16* tile_v) {
#pragma unroll
  for (int n = 0; n < kKeys / 16; ++n) {
    uint32_t a[4];
    to_a(a, weights[2 * n], weights[2 * n + 1]);
#pragma unroll
    for (int d = 0; d < kColumns / 16; ++d) {
      uint32_t b[4];
      load_b_columns<kTileStride<kColumns>>(b, tile_v, n * 16, d * 16);
      mma_m16n8k16<bf16>(acc.sums[2 * d], a, b[0], b[1]);
      mma_m16n8k16<bf16>(acc.sums[2 * d + 1], a, b[2], b[3]);
    }
  }
}

/// kDim columns of q and k, of which a wide head may have fewer (the others are zeros); kColumns of v and
/// out. Keys and values lie in two stages. The queries pass through the second one on their way to registers
/// if they fit, through both if not.
template <int kDim, int kColumns, int kWarps, int kKeys>
struct Plan {
  static constexpr int kRows = 16 * kWarps, kThreads = 32 * kWarps, kStride = kTileStride<kDim>,
                       kValues = kKeys * kStride, kStage = kValues + kKeys * kTileStride<kColumns>;
  /// On a multiprocessor, at least, as far as registers go: 8 or 16 warps.
  static constexpr int kBlocks = (kDim > 64 ? 8 : 16) / kWarps;
  static constexpr bool kInOneStage = kRows * kStride <= kStage;
  static constexpr size_t kSharedBytes = 2 * kStage * sizeof(bf16);
  static_assert(kRows * kStride <= 2 * kStage);
};

/// Grid: query tiles, heads, samples x slices of kColumns output columns.
template <int kDim, int kColumns, int kWarps, int kKeys>
__global__ void __launch_bounds__(32 * kWarps, Plan<kDim, kColumns, kWarps, kKeys>::kBlocks)
    attention_forward_kernel(const AttentionShape shape, const bf16* __restrict__ q,
                             const bf16* __restrict__ k, const bf16* __restrict__ v, bf16* __restrict__ out,
                             float* __restrict__ log_sum_exp) {
  using P = Plan<kDim, kColumns, kWarps, kKeys>;
  WD_DYNAMIC_SHARED(bf16, stages);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int dim = kDim == kColumns ? kDim : static_cast<int>(shape.head_dim);
  const int slices = (dim + kColumns - 1) / kColumns,
            slice = static_cast<int>(blockIdx.z) % slices * kColumns;
  const HeadView head(shape, blockIdx.z / static_cast<unsigned>(slices), blockIdx.y);
  const int64_t first = int64_t{blockIdx.x} * P::kRows;
  const auto fetch_keys = [&](int64_t key, bf16* stage) {
    fetch_tile<kKeys, kDim, P::kThreads>(stage, k + head.at_key, head.stride, key, head.keys, dim);
    fetch_tile<kKeys, kColumns, P::kThreads>(stage + P::kValues, v + head.at_key + slice, head.stride, key,
                                             head.keys, dim - slice);
  };
  bf16* tile_q = stages + (P::kInOneStage ? P::kStage : 0);
  fetch_tile<P::kRows, kDim, P::kThreads>(tile_q, q + head.at_query, head.stride, first, head.queries, dim);
  cp_async_commit();
  if (P::kInOneStage) fetch_keys(0, stages);
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();
  uint32_t queries[kDim / 16][4];
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) load_a<P::kStride>(queries[d], tile_q, warp * 16, d * 16);
  if (!P::kInOneStage) {
    __syncthreads();
    fetch_keys(0, stages);
    cp_async_commit();
  }
  const float scale = shape.scale * kLog2E;
  Accumulator<kColumns> acc;
  int stage = 0;  // where the tile at work lies
  for (int64_t key = 0; key < head.keys; key += kKeys) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is there, and nobody reads the other stage any more
    const bf16* tile_k = stages + stage;
    stage = P::kStage - stage;
    if (key + kKeys < head.keys) fetch_keys(key + kKeys, stages + stage);
    cp_async_commit();
    float scores[kKeys / 8][4] = {};
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d)
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        load_b_rows<P::kStride>(b, tile_k, n * 16, d * 16);
        mma_m16n8k16<bf16>(scores[2 * n], queries[d], b[0], b[1]);
        mma_m16n8k16<bf16>(scores[2 * n + 1], queries[d], b[2], b[3]);
      }
    float rescale[2];
    softmax_step<kKeys>(scores, acc, mask_scores<kKeys>(scores, head, key, scale), rescale);
    rescale_sums(acc, rescale);
    add_values<kKeys>(acc, scores, tile_k + P::kValues);
  }
  store_rows(acc, head, first + warp * 16, dim - slice, out + head.at_query + slice,
             slice == 0 ? log_sum_exp : nullptr);
}

template <int kDim, int kColumns, int kWarps, int kKeys>
void launch_forward(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v, bf16* out,
                    float* log_sum_exp, const Queue& queue) {
  using P = Plan<kDim, kColumns, kWarps, kKeys>;
  const int64_t slices = (s.head_dim + kColumns - 1) / kColumns;
  const dim3 grid(static_cast<unsigned>((s.queries + P::kRows - 1) / P::kRows),
                  static_cast<unsigned>(s.heads), static_cast<unsigned>(s.batch * slices));
  launch_shared<attention_forward_kernel<kDim, kColumns, kWarps, kKeys>, P::kSharedBytes>(
      queue, grid, P::kThreads, s, q, k, v, out, log_sum_exp);
}

void attention_forward(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v, bf16* out,
                       float* log_sum_exp, const Queue& queue) {
  require_aligned(q, k, v, out);
  if (!(s.scale > 0)) fail("attention in bfloat16: scale ", s.scale, " is not positive");
  if (s.head_dim < 16 || s.head_dim > 512 || s.head_dim % 16 != 0)
    fail("attention in bfloat16: head dim ", s.head_dim, " is not supported; a multiple of 16 up to 512 is");
  const auto run = [&](auto* launcher) { launcher(s, q, k, v, out, log_sum_exp, queue); };
  if (attention_forward_on_hopper(s, q, k, v, out, log_sum_exp, queue)) return;
  switch (s.head_dim) {
    case 16:
      return run(launch_forward<16, 16, 4, 64>);
    case 32:
      return run(launch_forward<32, 32, 4, 64>);
    case 48:
      return run(launch_forward<48, 48, 4, 64>);
    case 64:
      return run(launch_forward<64, 64, 8, 64>);
    case 80:
      return run(launch_forward<80, 80, 4, 64>);
    case 96:
      return run(launch_forward<96, 96, 4, 64>);
    case 112:
      return run(launch_forward<112, 112, 4, 64>);
    case 128:
      return run(launch_forward<128, 128, 8, 64>);
    default:
      break;
  }
  run(s.head_dim <= 256   ? launch_forward<256, 128, 4, 32>
      : s.head_dim <= 384 ? launch_forward<384, 128, 4, 32>
                          : launch_forward<512, 128, 4, 32>);
}

void attention_forward(const AttentionShape& s, const float* q, const float* k, const float* v, float* out,
                       float* log_sum_exp, const Queue& queue) {
  const auto launcher =
      s.head_dim <= 64 ? launch_attention_forward_float<64> : launch_attention_forward_float<128>;
  launcher(s, q, k, v, out, log_sum_exp, queue);
}

}  // namespace

template <class T>
void add_attention_forward(OpsOf<T>& ops) {
  ops.attention_forward = attention_forward;
}
template void add_attention_forward(OpsOf<float>&);
template void add_attention_forward(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
