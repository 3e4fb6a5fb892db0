// Bulk copies of boxes of a tensor into shared memory, cp.async.bulk.tensor (PTX ISA, "Tensors", mode tiled).
// The destination holds NaN from the issue on; the bytes come when nothing else can go on, or at any time
// (SimtOrder::kRandom), or at once (SimtOptions::early_copies), and are counted at the mbarrier.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "kernels/simt/block.h"
#include "kernels/simt/tile_dimension.h"
#include "wandistill/half.h"

namespace wandistill::simt {

/// A tensor of bf16 with 2 to 5 dimensions, the first contiguous, 64 elements of which make a box's row: in
/// shared memory rows of 128 bytes, whose pieces of 16 bytes are swizzled (128-byte mode).
struct TensorMap {
  const bf16* tensor;
  int rank;
  std::array<TileDimension, 5> dimensions;
};
TensorMap make_tensor_map(const bf16* tensor, std::initializer_list<TileDimension> dimensions);

namespace engine {

void issue_bulk_copy(void* to, const TensorMap& map, uint64_t* barrier, int rank,
                     const std::array<int, 5>& first, const Where& where);
void fence_stores();
/// Brings up to date what asynchronous units see of ordinary stores, as far as these are fenced.
void show_fenced_stores(Block& block);
/// Where the 16 bytes lie that are at `address` in a tile swizzled in 128-byte mode.
constexpr uint32_t swizzled(uint32_t address) {
  return address ^ (address >> 7 & 7) << 4;
}

}  // namespace engine

/// Address in shared memory, as matrix descriptors have it. Dynamic shared memory alone.
uint32_t shared_address(const void* in_shared);

/// By one thread: the box from element `first` on (per dimension, the contiguous one first; may be negative)
/// comes to `to`, which is aligned to 1024 bytes; zeros for what is outside of the tensor. All the box's
/// bytes count at the barrier.
template <class... First>
void tma_load(void* to, const TensorMap& map, uint64_t* barrier, First... first) {
  static_assert(sizeof...(First) >= 2 && sizeof...(First) <= 5);
  engine::issue_bulk_copy(to, map, barrier, sizeof...(First), {static_cast<int>(first)...},
                          engine::current->where);
}
/// The map will be needed.
inline void tma_prefetch(const TensorMap&) {}

/// In every thread that has stored to shared memory, and before the barrier behind: what bulk copies and
/// warpgroup products do from there on is ordered behind the stores.
inline void fence_proxy_async() {
  engine::fence_stores();
}

}  // namespace wandistill::simt
