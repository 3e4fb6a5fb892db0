// The softmax of attention's kernels in bf16: scores lie in a warp as the products of tensor cores
// leave them, two rows per lane, [keys / 8][4].
#pragma once

#include <cmath>

#include "kernels/cuda/attention.h"

namespace wandistill::WD_KERNELS {

/// The running softmax of the two rows that a lane has a part of, and their weighted sums of v.
template <int kColumns>
struct Accumulator {
  float sums[kColumns / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY};  // in units of log 2, as all scores here
  float total[2] = {};                        // of this lane's columns
};

/// Scores, still to be multiplied by scale > 0, become weights of the new maximum; the sums of v are still to
/// be multiplied by `rescale`, per row.
template <int kKeys, int kColumns>
__device__ __forceinline__ void softmax_step(float (&scores)[kKeys / 8][4], Accumulator<kColumns>& acc,
                                             float scale, float (&rescale)[2]) {
  float largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) largest[e / 2] = fmaxf(largest[e / 2], scores[n][e]);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    for (int bits = 1; bits <= 2; ++bits)
      largest[r] = fmaxf(largest[r], __shfl_xor_sync(~0u, largest[r], bits));
    largest[r] = fmaxf(acc.maximum[r], largest[r] * scale);
    rescale[r] = exp2_approx(acc.maximum[r] - largest[r]);
    acc.maximum[r] = largest[r];
    acc.total[r] *= rescale[r];
  }
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      scores[n][e] = exp2_approx(__fmaf_rn(scores[n][e], scale, -largest[e / 2]));
      acc.total[e / 2] += scores[n][e];
    }
}

/// Where tiles are counted from a sample's end: scores are multiplied by scale, the tile's first keys, as
/// many as are missing, masked, and its last one biased, if the sample's first or last tile has such. Returns
/// what the scores are still to be multiplied by.
template <int kKeys>
__device__ __forceinline__ float mask_front(float (&scores)[kKeys / 8][4], int missing, bool last, float bias,
                                            float scale) {
  if (missing == 0 && !last) return scale;
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = column + n * 8 + e % 2;
      float score = scores[n][e] * scale;
      if (last && key == kKeys - 1) score += bias * kLog2E;
      scores[n][e] = key >= missing ? score : -INFINITY;
    }
  return 1;
}

template <int kColumns>
__device__ __forceinline__ void rescale_sums(Accumulator<kColumns>& acc, const float (&rescale)[2]) {
#pragma unroll
  for (int d = 0; d < kColumns / 8; ++d)
#pragma unroll
    for (int e = 0; e < 4; ++e) acc.sums[d][e] *= rescale[e / 2];
}

/// Writes the warp's 16 rows from `first` on: `columns` (at most kColumns) of the head.
template <int kColumns>
__device__ __forceinline__ void store_rows(const Accumulator<kColumns>& acc, const HeadView& head,
                                           int64_t first, int columns, bf16* out, float* log_sum_exp) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float total = acc.total[r];
    for (int bits = 1; bits <= 2; ++bits) total += __shfl_xor_sync(~0u, total, bits);
    const int64_t row = first + lane / 4 + r * 8;
    if (row < head.queries) {
      const float inverse = 1 / total;
#pragma unroll
      for (int d = 0; d < kColumns / 8; ++d)
        if (d * 8 < columns)
          *reinterpret_cast<uint32_t*>(out + row * head.stride + d * 8 + lane % 4 * 2) =
              pack2<bf16>(acc.sums[d][2 * r] * inverse, acc.sums[d][2 * r + 1] * inverse);
      if (log_sum_exp != nullptr && lane % 4 == 0)
        log_sum_exp[head.at_statistics + row] = acc.maximum[r] * kLn2 + logf(total);
    }
  }
}

}  // namespace wandistill::WD_KERNELS
