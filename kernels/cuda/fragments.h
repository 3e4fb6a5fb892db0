// Tiles of bf16 in shared memory, and their fragments for mma.m16n8k16 (kernels/simt/tensor_core.h).
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

/// Row stride of a tile of kColumns columns: 16 bytes more, so that eight rows lie in different banks.
template <int kColumns>
constexpr int kTileStride = kColumns + 8;

/// Enqueues rows [first, first + kRows) of a tensor, whose rows are `stride` elements apart, as cp.async into
/// a tile: its first `columns` columns, a multiple of 8; zeros behind them, up to kColumns, and for rows from
/// `rows` on. first < rows; all 16-byte aligned.
template <int kRows, int kColumns, int kThreads>
__device__ __forceinline__ void fetch_tile(bf16* tile, const bf16* tensor, int64_t stride, int64_t first,
                                           int64_t rows, int columns = kColumns) {
  // A power of two of threads takes as many pieces of a row, so that a thread's addresses differ by
  // constants.
  constexpr int kPieces = kColumns / 8, kAcross = kPieces & -kPieces, kDown = kThreads / kAcross;
  const int thread = static_cast<int>(threadIdx.x), row = thread / kAcross, column = thread % kAcross * 8;
  const int left = static_cast<int>(rows - first < kRows ? rows - first : kRows);
  const bf16* from = tensor + first * stride + (row * stride + column);
  bf16* to = tile + row * kTileStride<kColumns> + column;
#pragma unroll
  for (int r = 0; r < kRows; r += kDown) {
    if (kRows % kDown != 0 && row + r >= kRows) break;
#pragma unroll
    for (int c = 0; c < kColumns; c += 8 * kAcross)
      cp_async16(to + r * kTileStride<kColumns> + c, from + r * stride + c,
                 row + r < left && column + c < columns);
  }
}

/// The A fragment of rows [row, row + 16) and columns [column, column + 16).
template <int kStride>
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const bf16* tile, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  ldmatrix_x4(a, tile + (row + lane % 16) * kStride + column + lane / 16 * 8);
}

/// B fragments of two products whose n are the tile's rows [row, row + 8) and [row + 8, row + 16) and whose k
/// are its columns [column, column + 16): b[0], b[1] and b[2], b[3].
template <int kStride>
__device__ __forceinline__ void load_b_rows(uint32_t (&b)[4], const bf16* tile, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  ldmatrix_x4(b, tile + (row + lane / 16 * 8 + lane % 8) * kStride + column + lane / 8 % 2 * 8);
}

/// B fragments of two products whose k are the tile's rows [row, row + 16) and whose n are its columns
/// [column, column + 8) and [column + 8, column + 16).
template <int kStride>
__device__ __forceinline__ void load_b_columns(uint32_t (&b)[4], const bf16* tile, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  ldmatrix_x4_trans(b, tile + (row + lane % 16) * kStride + column + lane / 16 * 8);
}

/// Two neighbouring C fragments [16, 8], rounded, as one A fragment [16, 16].
__device__ __forceinline__ void to_a(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = pack2<bf16>(left[0], left[1]);
  a[1] = pack2<bf16>(left[2], left[3]);
  a[2] = pack2<bf16>(right[0], right[1]);
  a[3] = pack2<bf16>(right[2], right[3]);
}

}  // namespace wandistill::WD_KERNELS
