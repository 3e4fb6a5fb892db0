// Products of warpgroups, wgmma.mma_async (PTX ISA, "Asynchronous warpgroup level matrix instructions"): a
// [64, 16] by b [16, N] in bf16, added up in float. Registers that a product reads or writes belong to it
// from its issue until a wgmma_wait() that ends it and names them: meanwhile they hold NaN. Before, a
// wgmma_fence() has to name them. The product itself is done as late as it may, or at once
// (SimtOptions::early_copies).
#pragma once

#include <cstdint>
#include <initializer_list>

#include "kernels/simt/async_units.h"
#include "kernels/simt/block.h"

namespace wandistill::simt {

/// The direction in which a matrix is contiguous in shared memory: a [64, K] or b [N, K] along K, or along
/// its rows' index.
enum class Major { kK, kMN };

namespace engine {

/// What a lane brings to a product.
struct LaneProduct {
  float* sums;
  uint32_t* fragments;  // null: a is in shared memory
  SharedOperand a, b;
  int columns;
  bool accumulate;
};
void issue_product(const LaneProduct& product, const Where& where);
void fence_registers(std::initializer_list<Registers> named, const Where& where);
void commit_products(const Where& where);
void await_products(int pending, std::initializer_list<Registers> named, const Where& where);

}  // namespace engine

/// d = a b, or d + a b if `accumulate`. d: per thread rows w 16 + lane / 4 and 8 below (w: the warp in its
/// group), of columns 8 n + 2 (lane % 4) and the next; [n][0], [n][1] in the upper row. Columns: 8 N8 = 64,
/// 96 or 128. b, and a, are descriptors of tiles in shared memory (kernels/cuda/swizzled_tile.h).
template <Major kA, Major kB, int N8>
void wgmma(float (&d)[N8][4], uint64_t a, uint64_t b, bool accumulate,
           engine::Where where = engine::Where::current()) {
  static_assert(N8 == 8 || N8 == 12 || N8 == 16);
  engine::issue_product({d[0], nullptr, {a, kA == Major::kMN}, {b, kB == Major::kMN}, N8 * 8, accumulate},
                        where);
}
/// The same, of 64 or 128 columns, with a in registers, laid out as for mma_m16n8k16, 16 rows per warp.
template <Major kB, int N8>
void wgmma(float (&d)[N8][4], uint32_t (&a)[4], uint64_t b, bool accumulate,
           engine::Where where = engine::Where::current()) {
  static_assert(N8 == 8 || N8 == 16);
  engine::issue_product({d[0], a, {}, {b, kB == Major::kMN}, N8 * 8, accumulate}, where);
}

/// Products from here on find in these registers (arrays) what the thread has written.
template <class... Array>
void wgmma_fence(Array&... named) {
  engine::fence_registers({{&named, sizeof named}...}, engine::current->where);
}
/// Products since the last commit become a group.
inline void wgmma_commit(engine::Where where = engine::Where::current()) {
  engine::commit_products(where);
}
/// All groups are done but the last kPending ones; the thread may use the registers named, up to two arrays,
/// again.
template <int kPending>
void wgmma_wait(engine::Where where = engine::Where::current()) {
  engine::await_products(kPending, {}, where);
}
template <int kPending, class First>
void wgmma_wait(First& first, engine::Where where = engine::Where::current()) {
  engine::await_products(kPending, {{&first, sizeof first}}, where);
}
template <int kPending, class First, class Second>
void wgmma_wait(First& first, Second& second, engine::Where where = engine::Where::current()) {
  engine::await_products(kPending, {{&first, sizeof first}, {&second, sizeof second}}, where);
}

/// For all warps of a warpgroup: how many registers a thread may have. Nothing here.
template <int kCount>
void setmaxnreg_inc() {
  static_assert(kCount >= 24 && kCount <= 256 && kCount % 8 == 0);
}
template <int kCount>
void setmaxnreg_dec() {
  static_assert(kCount >= 24 && kCount <= 256 && kCount % 8 == 0);
}

}  // namespace wandistill::simt
