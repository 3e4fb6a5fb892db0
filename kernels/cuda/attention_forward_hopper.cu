// Attention, forward, in bf16 for Hopper: FlashAttention-3 (Shah et al. 2024,
// https://arxiv.org/abs/2407.08608). One warpgroup fetches keys and values into a ring of stages; the others
// have 64 queries each. While the tensor cores form the scores of a tile and the sums of v of the tile
// before, the softmax of another warpgroup runs; warpgroups take turns.
//
// Tiles of keys are counted from the sample's end, so that no box reaches behind the tensors, whose number of
// rows the host does not know. The first tile's missing keys are rows of the sample before, or in front of
// the tensor (zeros): they are masked, and their values cleared, as infinity times 0 is not 0.
#include <climits>

#include "kernels/cuda/attention_softmax.h"
#include "kernels/cuda/fragments.h"
#include "kernels/cuda/launch_shared.h"
#include "kernels/cuda/swizzled_tile.h"

namespace wandistill::WD_KERNELS {
namespace {

template <int kDim>
struct HopperPlan {
  static constexpr int kGroups = kDim == 64 ? 3 : 2;  // warpgroups with queries
  static constexpr int kRows = 64 * kGroups, kKeys = 128, kStages = 2;
  static constexpr int kConsumers = 128 * kGroups, kThreads = kConsumers + 128;
  static constexpr int kTile = kKeys * kDim;  // elements, as all here
  static constexpr int kAtKeys = kRows * kDim, kAtValues = kAtKeys + kStages * kTile;
  static constexpr size_t kSharedBytes = (kAtValues + kStages * kTile) * sizeof(bf16);
};

/// A stage is full when its copies are there, and empty when all warps with queries have read it.
template <int kStages>
struct HopperBarriers {
  uint64_t queries, full_keys[kStages], full_values[kStages], empty_keys[kStages], empty_values[kStages];
};

/// How often tile t's stage has been used before, as a phase's parity.
template <int kStages>
__device__ __forceinline__ unsigned parity(int t) {
  return static_cast<unsigned>(t / kStages) % 2;
}

/// One head of one sample, its tiles of keys and the rows of the tensors where they begin.
template <int kKeys>
struct HopperHead {
  HeadView view;
  int tiles, missing;  // keys in front of the first, in the first tile
  int query_row, key_row, number;

  __device__ __forceinline__ HopperHead(const AttentionShape& s, int64_t sample, int64_t head, int64_t query)
      : view(s, sample, head),
        tiles(static_cast<int>((view.keys + kKeys - 1) / kKeys)),
        missing(static_cast<int>(tiles * int64_t{kKeys} - view.keys)),
        query_row(static_cast<int>(sample * s.queries + query)),
        key_row(static_cast<int>(s.key_offsets[sample]) - missing),
        number(static_cast<int>(head)) {}
};

/// By one thread: all that the block reads.
template <int kDim>
__device__ __forceinline__ void fetch_for_block(const TensorMap& map_q, const TensorMap& map_k,
                                                const TensorMap& map_v,
                                                const HopperHead<HopperPlan<kDim>::kKeys>& head, bf16* shared,
                                                HopperBarriers<HopperPlan<kDim>::kStages>& barriers) {
  using P = HopperPlan<kDim>;
  const auto fetch = [&](bf16* tile, int rows, const TensorMap& map, int row, uint64_t* full) {
    mbarrier_arrive_expect(full, static_cast<unsigned>(rows * kDim) * 2);
    for (int column = 0; column < kDim; column += kPartColumns)
      tma_load(tile + column * rows, map, full, column, head.number, row);
  };
  fetch(shared, P::kRows, map_q, head.query_row, &barriers.queries);
  for (int t = 0; t < head.tiles; ++t) {
    const int stage = t % P::kStages, row = head.key_row + t * P::kKeys;
    const unsigned released = parity<P::kStages>(t) ^ 1;
    mbarrier_wait(&barriers.empty_keys[stage], released);
    fetch(shared + P::kAtKeys + stage * P::kTile, P::kKeys, map_k, row, &barriers.full_keys[stage]);
    mbarrier_wait(&barriers.empty_values[stage], released);
    fetch(shared + P::kAtValues + stage * P::kTile, P::kKeys, map_v, row, &barriers.full_values[stage]);
  }
}

/// scores = q k^T, as a group that is under way.
template <int kDim, int kRows, int kKeys>
__device__ __forceinline__ void start_scores(float (&scores)[kKeys / 8][4], uint64_t queries, uint64_t keys) {
  wgmma_fence(scores);
#pragma unroll
  for (int d = 0; d < kDim; d += 16)
    wgmma<Major::kK, Major::kK>(scores, queries + matrix_offset<kRows>(0, d),
                                keys + matrix_offset<kKeys>(0, d), d != 0);
  wgmma_commit();
}

/// sums += weights v, as a group that is under way.
template <int kKeys, int kDim>
__device__ __forceinline__ void start_sums(float (&sums)[kDim / 8][4], uint32_t (&weights)[kKeys / 16][4],
                                           uint64_t values) {
  wgmma_fence(sums, weights);
#pragma unroll
  for (int n = 0; n < kKeys; n += 16)
    wgmma<Major::kMN>(sums, weights[n / 16], values + matrix_offset<kKeys>(n, 0), true);
  wgmma_commit();
}

template <int kKeys>
__device__ __forceinline__ void round_weights(uint32_t (&weights)[kKeys / 16][4],
                                              const float (&scores)[kKeys / 8][4]) {
#pragma unroll
  for (int n = 0; n < kKeys / 16; ++n) to_a(weights[n], scores[2 * n], scores[2 * n + 1]);
}

/// By all threads with queries: zeros in the values' first `rows` rows.
template <int kDim>
__device__ __forceinline__ void clear_front(bf16* values, int rows) {
  using P = HopperPlan<kDim>;
  for (int column = 0; column < kDim; column += kPartColumns)
    for (int i = static_cast<int>(threadIdx.x); i < rows * 8; i += P::kConsumers)
      *reinterpret_cast<uint4*>(values + column * P::kKeys + i * 8) = make_uint4(0, 0, 0, 0);
  fence_proxy_async();
  barrier_sync(1, P::kConsumers);
}

/// Grid: query tiles, heads, samples.
template <int kDim>
__global__ void __launch_bounds__(HopperPlan<kDim>::kThreads, 1)
    attention_forward_hopper_kernel(const __grid_constant__ TensorMap map_q,
                                    const __grid_constant__ TensorMap map_k,
                                    const __grid_constant__ TensorMap map_v, const AttentionShape shape,
                                    bf16* __restrict__ out, float* __restrict__ log_sum_exp) {
  if constexpr (!kHopper) {
    trap();
  } else {
    using P = HopperPlan<kDim>;
    constexpr int kKeys = P::kKeys, kStages = P::kStages;
    WD_DYNAMIC_SHARED(bf16, shared);
    WD_SHARED(HopperBarriers<kStages>, all_barriers, [1]);
    HopperBarriers<kStages>& barriers = all_barriers[0];
    const int64_t first = int64_t{blockIdx.x} * P::kRows;
    const HopperHead<kKeys> head(shape, blockIdx.z, blockIdx.y, first);
    if (threadIdx.x == 0) {
      mbarrier_init(&barriers.queries, 1);
      for (int i = 0; i < kStages; ++i) {
        mbarrier_init(&barriers.full_keys[i], 1);
        mbarrier_init(&barriers.full_values[i], 1);
        mbarrier_init(&barriers.empty_keys[i], P::kConsumers / 32);
        mbarrier_init(&barriers.empty_values[i], P::kConsumers / 32);
      }
      mbarrier_init_fence();
    }
    __syncthreads();
    // The same in a warp for the compiler to see.
    const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 128, 0);
    if (group == P::kGroups) {
      setmaxnreg_dec<kDim == 64 ? 32 : 24>();
      if (threadIdx.x == P::kConsumers) fetch_for_block<kDim>(map_q, map_k, map_v, head, shared, barriers);
    } else {
      setmaxnreg_inc<kDim == 64 ? 160 : 240>();
      const uint64_t queries = matrix_descriptor<P::kRows>(shared) + matrix_offset<P::kRows>(group * 64, 0);
      const uint64_t keys = matrix_descriptor<kKeys>(shared + P::kAtKeys),
                     values = matrix_descriptor<kKeys>(shared + P::kAtValues);
      const auto in_stage = [](uint64_t matrix, int t) {
        return matrix + static_cast<uint64_t>(t % kStages) * (P::kTile * sizeof(bf16) >> 4);
      };
      // Named barrier 2 + g: warpgroup g's turn. It waits for that with all its threads, and those of the
      // warpgroup before it arrive.
      const auto take_turn = [&] { barrier_sync(2 + group, 256); };
      const auto pass_turn = [&] { barrier_arrive(2 + (group + 1) % P::kGroups, 256); };
      if (group == P::kGroups - 1) pass_turn();
      // The stage is free as far as this warp is concerned.
      const auto release_stage = [](uint64_t* empty) {
        if (threadIdx.x % 32 == 0) mbarrier_arrive(empty);
      };
      const float scale = shape.scale * kLog2E;
      const int last = head.tiles - 1;
      Accumulator<kDim> acc;
      float scores[kKeys / 8][4], rescale[2];
      uint32_t weights[kKeys / 16][4];

      mbarrier_wait(&barriers.queries, 0);
      mbarrier_wait(&barriers.full_keys[0], 0);
      start_scores<kDim, P::kRows, kKeys>(scores, queries, keys);
      wgmma_wait<0>(scores);
      release_stage(&barriers.empty_keys[0]);
      softmax_step<kKeys>(scores, acc,
                          mask_front<kKeys>(scores, head.missing, last == 0, head.view.bias, scale), rescale);
      round_weights<kKeys>(weights, scores);
      if (head.missing != 0) {
        mbarrier_wait(&barriers.full_values[0], 0);
        clear_front<kDim>(shared + P::kAtValues, head.missing);
      }
      for (int t = 1; t <= last; ++t) {
        const int stage = t % kStages, before = (t - 1) % kStages;
        mbarrier_wait(&barriers.full_keys[stage], parity<kStages>(t));
        take_turn();
        start_scores<kDim, P::kRows, kKeys>(scores, queries, in_stage(keys, t));
        mbarrier_wait(&barriers.full_values[before], parity<kStages>(t - 1));
        start_sums<kKeys, kDim>(acc.sums, weights, in_stage(values, t - 1));
        pass_turn();
        wgmma_wait<1>(scores);
        release_stage(&barriers.empty_keys[stage]);
        softmax_step<kKeys>(scores, acc, mask_front<kKeys>(scores, 0, t == last, head.view.bias, scale),
                            rescale);
        wgmma_wait<0>(acc.sums, weights);
        release_stage(&barriers.empty_values[before]);
        round_weights<kKeys>(weights, scores);
        rescale_sums(acc, rescale);
      }
      mbarrier_wait(&barriers.full_values[last % kStages], parity<kStages>(last));
      start_sums<kKeys, kDim>(acc.sums, weights, in_stage(values, last));
      wgmma_wait<0>(acc.sums, weights);
      store_rows(acc, head.view, first + static_cast<int>(threadIdx.x) / 32 * 16, kDim,
                 out + head.view.at_query, log_sum_exp);
    }
  }
}

template <int kDim>
void launch_forward_hopper(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v, bf16* out,
                           float* log_sum_exp, const Queue& queue) {
  using P = HopperPlan<kDim>;
  const auto map = [&](const bf16* tensor, int64_t rows, int box) {
    return make_tensor_map(tensor,
                           {{kDim, 1, kPartColumns}, {s.heads, kDim, 1}, {rows, s.heads * kDim, box}});
  };
  const dim3 grid(static_cast<unsigned>((s.queries + P::kRows - 1) / P::kRows),
                  static_cast<unsigned>(s.heads), static_cast<unsigned>(s.batch));
  launch_shared<attention_forward_hopper_kernel<kDim>, P::kSharedBytes>(
      queue, grid, P::kThreads, map(q, s.batch * s.queries, P::kRows), map(k, s.batch * s.max_keys, P::kKeys),
      map(v, s.batch * s.max_keys, P::kKeys), s, out, log_sum_exp);
}

}  // namespace

bool attention_forward_on_hopper(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v,
                                 bf16* out, float* log_sum_exp, const Queue& queue) {
  const int64_t rows = s.batch * (s.queries > s.max_keys ? s.queries : s.max_keys);
  if (compute_capability(queue) != 90 || (s.head_dim != 64 && s.head_dim != 128) || rows >= INT_MAX / 2 ||
      s.batch * s.queries * s.heads == 0)
    return false;
  const auto launcher = s.head_dim == 64 ? launch_forward_hopper<64> : launch_forward_hopper<128>;
  launcher(s, q, k, v, out, log_sum_exp, queue);
  return true;
}

}  // namespace wandistill::WD_KERNELS
