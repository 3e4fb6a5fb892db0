// Tiles of bf16 in shared memory as tma_load leaves them and wgmma takes them: their columns in parts of 64,
// each part [kRows][64], rows of 128 bytes, 128-byte swizzle. Aligned to 1024 bytes.
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

constexpr int kPartColumns = 64, kSwizzleAlignment = 1024;

/// The tile as a matrix for wgmma (PTX ISA, "Matrix descriptor format"), from its element (0, 0) on. As
/// Major::kK its rows are the matrix's m or n, its columns k. As Major::kMN it is the other way round; then
/// the leading dimension's offset, which kK does not look at, leads from part to part. The stride offset
/// leads to the next eight rows.
template <int kRows>
__device__ __forceinline__ uint64_t matrix_descriptor(const bf16* tile) {
  constexpr uint64_t kLeading = kRows * 128, kStride = 8 * 128, kSwizzle128 = 1;
  static_assert(kRows % 8 == 0 && kLeading < 1 << 18);
  return uint64_t{(shared_address(tile) & 0x3FFFF) >> 4} | kLeading >> 4 << 16 | kStride >> 4 << 32 |
         kSwizzle128 << 62;
}
/// To be added to a descriptor, for the matrix from element (row, column) on: multiples of 8 and 16, for kMN
/// of 8 and 64.
template <int kRows>
__device__ constexpr uint64_t matrix_offset(int row, int column) {
  return static_cast<uint64_t>((column / kPartColumns * kRows + row) * 128 + column % kPartColumns * 2) >> 4;
}

/// Where element (row, column) of such a tile is, as an index.
template <int kRows>
__device__ constexpr int swizzled_index(int row, int column) {
  return (column / kPartColumns * kRows + row) * kPartColumns + ((column % kPartColumns) ^ (row % 8 * 8));
}

}  // namespace wandistill::WD_KERNELS
