// Kernels that tests of Hopper's wrappers run: on the SIMT layer, and on a GPU of compute capability 9.0.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "wandistill/half.h"
#include "wandistill/queue.h"

namespace wandistill::simt_test {

/// How wgmma gets a: from a tile with k in its columns or in its rows, or from registers.
enum class SourceOfA { kColumnsAreK, kRowsAreK, kRegisters };

/// out: the box at `first`, as it lies in shared memory. The tensor has `rank` dimensions of `sizes`, the
/// first contiguous, and its boxes have `box` elements; box[0] = 64.
using TmaBox = void(int rank, const std::array<int, 5>& sizes, const std::array<int, 5>& box,
                    const std::array<int, 5>& first, const bf16* in, bf16* out, const Queue& queue);
/// out = in [tiles, 8, 64], through a ring of two stages.
using TmaRing = void(int tiles, const bf16* in, bf16* out, const Queue& queue);
/// c [64, N] += a b, k = 64; a [64, 64] with rows m (k for kRowsAreK); b [N, 64] with rows n, or [64, N] with
/// rows k; N = 64, 128, or 96 with k in the columns of both. By tma_load, or by ordinary stores and
/// fence_proxy_async().
using WarpgroupProduct = void(int columns, SourceOfA a_from, bool b_rows_are_k, bool by_stores, const bf16* a,
                              const bf16* b, float* c, const Queue& queue);
/// out [64] = in [64] reversed + 2 (rounds - 1), from two warps to two others through two named barriers.
using NamedBarriers = void(int rounds, const int* in, int* out, const Queue& queue);

struct HopperKernels {
  TmaBox* tma_box;
  TmaRing* tma_ring;
  WarpgroupProduct* warpgroup_product;
  NamedBarriers* named_barriers;
};

}  // namespace wandistill::simt_test

namespace wandistill::simt {
extern const simt_test::HopperKernels kHopperKernels;
}
namespace wandistill::cuda {
extern const simt_test::HopperKernels kHopperKernels;
}
