// Attention, backward, in bf16 for Hopper: the kernels of attention_backward.cu with products of warpgroups.
// A warpgroup has 64 keys (for dk and dv) or 64 queries (for dq), their gradients stay in registers; a warp
// fetches the other side, tile by tile, into a ring of stages. Weights and scores' gradients pass from the
// registers of one product into the next one; scale is left to the gradients' end.
//
// The maps of queries know the samples: behind a sample's last query there are zeros. Those of keys do not,
// whose tiles are counted from the sample's end as in attention_forward_hopper.cu: the first tile's missing
// keys are not stored (dk, dv), or masked and cleared (dq).
#include <climits>
#include <cmath>

#include "kernels/cuda/attention_backward.h"
#include "kernels/cuda/attention_softmax.h"
#include "kernels/cuda/fragments.h"
#include "kernels/cuda/launch_shared.h"
#include "kernels/cuda/swizzled_tile.h"

namespace wandistill::WD_KERNELS {
namespace {

/// Two tiles of the block's own rows, and per stage two of the other side's: as many rows as the registers
/// allow.
template <int kDim, int kOtherRows>
struct BackwardPlan {
  static constexpr int kGroups = 2;  // warpgroups with rows of their own
  static constexpr int kOwn = 64 * kGroups, kOthers = kOtherRows, kStages = 2;
  static constexpr int kConsumers = 128 * kGroups, kThreads = kConsumers + 128;
  static constexpr int kOwnTile = kOwn * kDim, kTile = kOthers * kDim;  // elements, as all here
  static constexpr int kAtStages = 2 * kOwnTile, kStage = 2 * kTile;
  static constexpr size_t kSharedBytes = (kAtStages + kStages * kStage) * sizeof(bf16);
};
template <int kDim>
using KeysPlan = BackwardPlan<kDim, kDim == 64 ? 96 : 64>;
template <int kDim>
using QueriesPlan = BackwardPlan<kDim, 128>;

/// A stage is full when what belongs there has come, and empty when all warps with products have read it.
template <int kStages>
struct BackwardBarriers {
  uint64_t own, full[kStages], empty[kStages];

  /// By all threads.
  __device__ __forceinline__ void init(unsigned arrivals_to_fill, unsigned arrivals_to_empty) {
    if (threadIdx.x == 0) {
      mbarrier_init(&own, 1);
      for (int i = 0; i < kStages; ++i) {
        mbarrier_init(&full[i], arrivals_to_fill);
        mbarrier_init(&empty[i], arrivals_to_empty);
      }
      mbarrier_init_fence();
    }
    __syncthreads();
  }
  /// How often tile t's stage has been used before, as a phase's parity.
  static __device__ __forceinline__ unsigned parity(int t) { return static_cast<unsigned>(t / kStages) % 2; }
  __device__ __forceinline__ void await_full(int t) { mbarrier_wait(&full[t % kStages], parity(t)); }
  __device__ __forceinline__ void await_empty(int t) { mbarrier_wait(&empty[t % kStages], parity(t) ^ 1); }
  /// By all warps with products, when none of their lanes reads the stage any more.
  __device__ __forceinline__ void release(int t) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&empty[t % kStages]);
  }
};

/// A sample's keys in tiles of kRows, and the row of the tensors where the first tile begins.
template <int kRows>
struct KeyTiles {
  int count, missing, row;  // missing: rows in front of the first key

  __device__ __forceinline__ KeyTiles(const AttentionShape& s, const HeadView& head, int64_t sample)
      : count(static_cast<int>((head.keys + kRows - 1) / kRows)),
        missing(static_cast<int>(count * int64_t{kRows} - head.keys)),
        row(static_cast<int>(s.key_offsets[sample]) - missing) {}
};

/// By one thread: two tiles of kRows rows, one behind the other. place: of the first row, in the maps'
/// dimensions behind the columns.
template <int kDim, int kRows, class... Place>
__device__ __forceinline__ void fetch_two(bf16* tiles, const TensorMap& first, const TensorMap& second,
                                          uint64_t* full, Place... place) {
  mbarrier_arrive_expect(full, 2 * kRows * kDim * sizeof(bf16));
  for (int column = 0; column < kDim; column += kPartColumns) {
    tma_load(tiles + column * kRows, first, full, column, place...);
    tma_load(tiles + (kDim + column) * kRows, second, full, column, place...);
  }
}

/// products [64 own rows, kOthers] = own . other^T, rows of tiles, as a group that is under way.
template <int kDim, class P>
__device__ __forceinline__ void start_products(float (&products)[P::kOthers / 8][4], uint64_t own,
                                               uint64_t other) {
  wgmma_fence(products);
#pragma unroll
  for (int d = 0; d < kDim; d += 16)
    wgmma<Major::kK, Major::kK>(products, own + matrix_offset<P::kOwn>(0, d),
                                other + matrix_offset<P::kOthers>(0, d), d != 0);
  wgmma_commit();
}

/// sums [64 own rows, kDim] += factors [64, kOthers] . other [kOthers, kDim], as a group that is under way.
template <int kDim, int kOthers>
__device__ __forceinline__ void start_sums(float (&sums)[kDim / 8][4], uint32_t (&factors)[kOthers / 16][4],
                                           uint64_t other) {
  wgmma_fence(sums, factors);
#pragma unroll
  for (int n = 0; n < kOthers; n += 16)
    wgmma<Major::kMN>(sums, factors[n / 16], other + matrix_offset<kOthers>(n, 0), true);
  wgmma_commit();
}

template <int kOthers>
__device__ __forceinline__ void round_factors(uint32_t (&factors)[kOthers / 16][4],
                                              const float (&values)[kOthers / 8][4]) {
#pragma unroll
  for (int n = 0; n < kOthers / 16; ++n) to_a(factors[n], values[2 * n], values[2 * n + 1]);
}

/// A stage's matrix.
template <class P>
__device__ __forceinline__ uint64_t in_stage(uint64_t matrix, int t) {
  return matrix + static_cast<uint64_t>(t % P::kStages) * (P::kStage * sizeof(bf16) >> 4);
}

/// The part of a sample's queries that a block goes through.
struct QueryRange {
  int part, begin, end;

  __device__ __forceinline__ QueryRange(const QuerySplit& split, const HeadView& head)
      : part(static_cast<int>(blockIdx.z) % split.parts) {
    const int64_t first = part * split.rows, behind = first + split.rows;
    begin = static_cast<int>(first);
    end = static_cast<int>(behind < head.queries ? behind : head.queries);
  }
  __device__ __forceinline__ int tiles(int rows) const { return (end - begin + rows - 1) / rows; }
};

/// By one warp, for dk and dv: keys and values, then queries, dout, log_sum_exp and delta. Behind the last
/// query the weight becomes exp(-infinity).
template <int kDim>
__device__ __forceinline__ void fetch_queries(const TensorMap& map_q, const TensorMap& map_k,
                                              const TensorMap& map_v, const TensorMap& map_dout,
                                              const float* log_sum_exp, const float* delta,
                                              const QueryRange& range, int sample, int key_row, bf16* shared,
                                              float2 (*statistics)[KeysPlan<kDim>::kOthers],
                                              BackwardBarriers<KeysPlan<kDim>::kStages>& barriers) {
  using P = KeysPlan<kDim>;
  const int lane = static_cast<int>(threadIdx.x) % 32, head = static_cast<int>(blockIdx.y);
  if (lane == 0) fetch_two<kDim, P::kOwn>(shared, map_k, map_v, &barriers.own, head, key_row);
  for (int t = 0; t < range.tiles(P::kOthers); ++t) {
    const int first = range.begin + t * P::kOthers, stage = t % P::kStages;
    float2 values[P::kOthers / 32];
#pragma unroll
    for (int i = 0; i < P::kOthers / 32; ++i) {
      const int query = first + i * 32 + lane;
      values[i] = query < range.end ? make_float2(log_sum_exp[query] * kLog2E, delta[query])
                                    : make_float2(INFINITY, 0);
    }
    barriers.await_empty(t);
#pragma unroll
    for (int i = 0; i < P::kOthers / 32; ++i) statistics[stage][i * 32 + lane] = values[i];
    if (lane == 0)
      fetch_two<kDim, P::kOthers>(shared + P::kAtStages + stage * P::kStage, map_q, map_dout,
                                  &barriers.full[stage], head, first, sample);
    else
      mbarrier_arrive(&barriers.full[stage]);
  }
}

/// Grid: key tiles, heads, samples x parts of the queries. Scores are transposed: own rows are keys.
template <int kDim>
__global__ void __launch_bounds__(KeysPlan<kDim>::kThreads, 1)
    attention_dkdv_hopper_kernel(const __grid_constant__ TensorMap map_q,
                                 const __grid_constant__ TensorMap map_k,
                                 const __grid_constant__ TensorMap map_v,
                                 const __grid_constant__ TensorMap map_dout, const AttentionShape shape,
                                 const QuerySplit split, const float* __restrict__ log_sum_exp,
                                 const float* __restrict__ delta, const KeyGradient<bf16> dk,
                                 const KeyGradient<bf16> dv) {
  if constexpr (!kHopper) {
    trap();
  } else {
    using P = KeysPlan<kDim>;
    constexpr int kQueries = P::kOthers, kStages = P::kStages;
    WD_DYNAMIC_SHARED(bf16, shared);
    WD_SHARED(BackwardBarriers<kStages>, all_barriers, [1]);
    WD_SHARED(float2, statistics, [kStages][kQueries]);  // log_sum_exp in units of log 2, delta
    BackwardBarriers<kStages>& barriers = all_barriers[0];
    const int sample = static_cast<int>(blockIdx.z) / split.parts;
    const HeadView head(shape, sample, blockIdx.y);
    const KeyTiles<P::kOwn> keys(shape, head, sample);
    const int tile = static_cast<int>(blockIdx.x);
    if (tile >= keys.count) return;  // of the whole block
    const QueryRange range(split, head);
    const int idle = tile == 0 ? keys.missing / 64 : 0;  // warpgroups in front whose keys are all missing
    barriers.init(32, static_cast<unsigned>(P::kGroups - idle) * 4);
    // The same in a warp for the compiler to see.
    const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
    if (warp >= P::kConsumers / 32) {
      setmaxnreg_dec<24>();
      if (warp == P::kConsumers / 32)
        fetch_queries<kDim>(map_q, map_k, map_v, map_dout, log_sum_exp + head.at_statistics,
                            delta + head.at_statistics, range, sample, keys.row + tile * P::kOwn, shared,
                            statistics, barriers);
    } else if (warp / 4 >= idle) {
      setmaxnreg_inc<240>();
      const int lane = static_cast<int>(threadIdx.x) % 32;
      // The upper one of the thread's two keys; the other is 8 behind it. Missing ones are less than 0.
      const int key = tile * P::kOwn - keys.missing + warp * 16 + lane / 4;
      const uint64_t own_k = matrix_descriptor<P::kOwn>(shared) + matrix_offset<P::kOwn>(warp / 4 * 64, 0),
                     own_v = own_k + matrix_offset<P::kOwn>(0, kDim),
                     tile_q = matrix_descriptor<kQueries>(shared + P::kAtStages),
                     tile_dout = tile_q + matrix_offset<kQueries>(0, kDim);
      const float scale = shape.scale * kLog2E;
      float bias[2];  // of the thread's keys' scores
#pragma unroll
      for (int r = 0; r < 2; ++r) bias[r] = key + r * 8 == head.keys - 1 ? head.bias * kLog2E : 0;
      float sum_k[kDim / 8][4] = {}, sum_v[kDim / 8][4] = {};
      mbarrier_wait(&barriers.own, 0);
      for (int t = 0; t < range.tiles(kQueries); ++t) {
        float weights[kQueries / 8][4], gradients[kQueries / 8][4];
        uint32_t rounded_weights[kQueries / 16][4], rounded_gradients[kQueries / 16][4];
        barriers.await_full(t);
        start_products<kDim, P>(weights, own_k, in_stage<P>(tile_q, t));
        start_products<kDim, P>(gradients, own_v, in_stage<P>(tile_dout, t));
        const float2* of_query = statistics[t % kStages] + lane % 4 * 2;
        wgmma_wait<1>(weights);
#pragma unroll
        for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            weights[n][e] =
                exp2_approx(__fmaf_rn(weights[n][e], scale, bias[e / 2] - of_query[n * 8 + e % 2].x));
        round_factors<kQueries>(rounded_weights, weights);
        start_sums<kDim, kQueries>(sum_v, rounded_weights, in_stage<P>(tile_dout, t));
        wgmma_wait<1>(gradients);
#pragma unroll
        for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            gradients[n][e] = weights[n][e] * (gradients[n][e] - of_query[n * 8 + e % 2].y);
        round_factors<kQueries>(rounded_gradients, gradients);
        start_sums<kDim, kQueries>(sum_k, rounded_gradients, in_stage<P>(tile_q, t));
        wgmma_wait<1>(sum_v, rounded_weights);
        wgmma_wait<0>(sum_k, rounded_gradients);
        barriers.release(t);
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int64_t row = key + r * 8, column = lane % 4 * 2;
        if (row < 0) continue;
        const int64_t at_k = dk.at(shape, head, 0, range.part, sample, blockIdx.y, row) + column,
                      at_v = dv.at(shape, head, 1, range.part, sample, blockIdx.y, row) + column;
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d) {
          dk.write(at_k + d * 8, {sum_k[d][2 * r] * shape.scale, sum_k[d][2 * r + 1] * shape.scale});
          dv.write(at_v + d * 8, {sum_v[d][2 * r], sum_v[d][2 * r + 1]});
        }
      }
    }
  }
}

/// By all threads with products: zeros in the first `rows` rows of both of a stage's tiles.
template <int kDim>
__device__ __forceinline__ void clear_front(bf16* stage, int rows) {
  using P = QueriesPlan<kDim>;
  for (int column = 0; column < 2 * kDim; column += kPartColumns)
    for (int i = static_cast<int>(threadIdx.x); i < rows * 8; i += P::kConsumers)
      *reinterpret_cast<uint4*>(stage + column * P::kOthers + i * 8) = make_uint4(0, 0, 0, 0);
  fence_proxy_async();
  barrier_sync(1, P::kConsumers);
}

/// Grid: query tiles, heads, samples.
template <int kDim>
__global__ void __launch_bounds__(QueriesPlan<kDim>::kThreads, 1)
    attention_dq_hopper_kernel(const __grid_constant__ TensorMap map_q,
                               const __grid_constant__ TensorMap map_k,
                               const __grid_constant__ TensorMap map_v,
                               const __grid_constant__ TensorMap map_dout, const AttentionShape shape,
                               const float* __restrict__ log_sum_exp, const float* __restrict__ delta,
                               bf16* __restrict__ dq) {
  if constexpr (!kHopper) {
    trap();
  } else {
    using P = QueriesPlan<kDim>;
    constexpr int kKeys = P::kOthers, kStages = P::kStages;
    WD_DYNAMIC_SHARED(bf16, shared);
    WD_SHARED(BackwardBarriers<kStages>, all_barriers, [1]);
    BackwardBarriers<kStages>& barriers = all_barriers[0];
    const HeadView head(shape, blockIdx.z, blockIdx.y);
    const KeyTiles<kKeys> keys(shape, head, blockIdx.z);
    const int first = static_cast<int>(blockIdx.x) * P::kOwn;
    barriers.init(1, P::kConsumers / 32);
    // The same in a warp for the compiler to see.
    const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
    if (warp >= P::kConsumers / 32) {
      setmaxnreg_dec<24>();
      if (threadIdx.x == P::kConsumers) {
        const int number = static_cast<int>(blockIdx.y);
        fetch_two<kDim, P::kOwn>(shared, map_q, map_dout, &barriers.own, number, first,
                                 static_cast<int>(blockIdx.z));
        for (int t = 0; t < keys.count; ++t) {
          const int stage = t % kStages;
          barriers.await_empty(t);
          fetch_two<kDim, kKeys>(shared + P::kAtStages + stage * P::kStage, map_k, map_v,
                                 &barriers.full[stage], number, keys.row + t * kKeys);
        }
      }
    } else {
      setmaxnreg_inc<240>();
      const int lane = static_cast<int>(threadIdx.x) % 32;
      const int query = first + warp * 16 + lane / 4;  // and the one 8 behind it
      const uint64_t own_q = matrix_descriptor<P::kOwn>(shared) + matrix_offset<P::kOwn>(warp / 4 * 64, 0),
                     own_dout = own_q + matrix_offset<P::kOwn>(0, kDim),
                     tile_k = matrix_descriptor<kKeys>(shared + P::kAtStages),
                     tile_v = tile_k + matrix_offset<kKeys>(0, kDim);
      const float scale = shape.scale * kLog2E;
      float lse[2], deltas[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int64_t at = head.at_statistics + query + r * 8;
        const bool there = query + r * 8 < head.queries;
        lse[r] = there ? log_sum_exp[at] * kLog2E : INFINITY;
        deltas[r] = there ? delta[at] : 0;
      }
      float sums[kDim / 8][4] = {};
      mbarrier_wait(&barriers.own, 0);
      for (int t = 0; t < keys.count; ++t) {
        const int missing = t == 0 ? keys.missing : 0;
        float weights[kKeys / 8][4], gradients[kKeys / 8][4];
        uint32_t rounded[kKeys / 16][4];
        barriers.await_full(t);
        if (missing != 0) clear_front<kDim>(shared + P::kAtStages, missing);
        start_products<kDim, P>(weights, own_q, in_stage<P>(tile_k, t));
        start_products<kDim, P>(gradients, own_dout, in_stage<P>(tile_v, t));
        wgmma_wait<1>(weights);
        const float factor = mask_front<kKeys>(weights, missing, t == keys.count - 1, head.bias, scale);
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e)
            weights[n][e] = exp2_approx(__fmaf_rn(weights[n][e], factor, -lse[e / 2]));
        wgmma_wait<0>(gradients);
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) gradients[n][e] = weights[n][e] * (gradients[n][e] - deltas[e / 2]);
        round_factors<kKeys>(rounded, gradients);
        start_sums<kDim, kKeys>(sums, rounded, in_stage<P>(tile_k, t));
        wgmma_wait<0>(sums, rounded);
        barriers.release(t);
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int64_t row = query + r * 8;
        if (row >= head.queries) continue;
#pragma unroll
        for (int d = 0; d < kDim / 8; ++d)
          *reinterpret_cast<uint32_t*>(dq + head.at_query + row * head.stride + d * 8 + lane % 4 * 2) =
              pack2<bf16>(sums[d][2 * r] * shape.scale, sums[d][2 * r + 1] * shape.scale);
      }
    }
  }
}

template <int kDim>
void launch_backward_hopper(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v,
                            const float* log_sum_exp, const float* delta, const bf16* dout, bf16* dq,
                            bf16* dk, bf16* dv, const Queue& queue) {
  using Keys = KeysPlan<kDim>;
  using Queries = QueriesPlan<kDim>;
  const int64_t width = s.heads * kDim;
  const auto map_queries = [&](const bf16* tensor, int rows) {
    return make_tensor_map(tensor, {{kDim, 1, kPartColumns},
                                    {s.heads, kDim, 1},
                                    {s.queries, width, rows},
                                    {s.batch, s.queries * width, 1}});
  };
  const auto map_keys = [&](const bf16* tensor, int rows) {
    return make_tensor_map(
        tensor, {{kDim, 1, kPartColumns}, {s.heads, kDim, 1}, {s.batch * s.max_keys, width, rows}});
  };
  const int64_t key_tiles = (s.max_keys + Keys::kOwn - 1) / Keys::kOwn;
  const QuerySplit split = split_queries(s, key_tiles);
  DeviceBuffer<float> partial;
  if (split.parts > 1)
    partial = DeviceBuffer<float>(*queue.stream, split.parts * 2 * s.batch * s.max_keys * width);
  const unsigned heads = static_cast<unsigned>(s.heads), batch = static_cast<unsigned>(s.batch);
  launch_shared<attention_dkdv_hopper_kernel<kDim>, Keys::kSharedBytes>(
      queue, dim3(static_cast<unsigned>(key_tiles), heads, batch * static_cast<unsigned>(split.parts)),
      Keys::kThreads, map_queries(q, Keys::kOthers), map_keys(k, Keys::kOwn), map_keys(v, Keys::kOwn),
      map_queries(dout, Keys::kOthers), s, split, log_sum_exp, delta, KeyGradient<bf16>{dk, partial.data()},
      KeyGradient<bf16>{dv, partial.data()});
  if (split.parts > 1) launch_sum_parts(s, split.parts, partial.data(), dk, dv, queue);
  launch_shared<attention_dq_hopper_kernel<kDim>, Queries::kSharedBytes>(
      queue, dim3(static_cast<unsigned>((s.queries + Queries::kOwn - 1) / Queries::kOwn), heads, batch),
      Queries::kThreads, map_queries(q, Queries::kOwn), map_keys(k, Queries::kOthers),
      map_keys(v, Queries::kOthers), map_queries(dout, Queries::kOwn), s, log_sum_exp, delta, dq);
}

}  // namespace

bool attention_backward_on_hopper(const AttentionShape& s, const bf16* q, const bf16* k, const bf16* v,
                                  const float* log_sum_exp, const float* delta, const bf16* dout, bf16* dq,
                                  bf16* dk, bf16* dv, const Queue& queue) {
  const int64_t rows = s.batch * (s.queries > s.max_keys ? s.queries : s.max_keys);
  if (compute_capability(queue) != 90 || (s.head_dim != 64 && s.head_dim != 128) || rows >= INT_MAX / 2 ||
      s.batch * s.queries * s.heads == 0)
    return false;
  const auto launcher = s.head_dim == 64 ? launch_backward_hopper<64> : launch_backward_hopper<128>;
  launcher(s, q, k, v, log_sum_exp, delta, dout, dq, dk, dv, queue);
  return true;
}

}  // namespace wandistill::WD_KERNELS
