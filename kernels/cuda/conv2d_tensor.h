// The convolution's products in bf16 on tensor cores.
#pragma once

#include "kernels/cuda/conv2d_tile.h"
#include "kernels/cuda/fragments.h"

namespace wandistill::WD_KERNELS {

/// 16 x 16 outputs of kOuts channels by eight warps, kAcross of them side by side over the channels. The 16
/// outputs of a row are the rows of one A fragment: a tap's is that many pixels of the tile, from wherever
/// the tap begins.
template <int kSide, int kOuts, int kAcross>
class TensorProduct {
 public:
  using Tile = ConvTile<bf16, kSide, 16, kOuts, 256>;
  /// Blocks per multiprocessor that registers must suffice for.
  static constexpr int kBlocks = kOuts > 32 ? 1 : kOuts > 8 ? 2 : 3;
  /// How often multiply() calls `between`.
  static constexpr int kParts = kSide;

  /// Adds the taps of row `ky`; between(part) has its work done between the products.
  template <class Between>
  __device__ __forceinline__ void multiply(const bf16* input, int ky, const bf16* weights, Between between) {
    const int row = (first_row() + ky) * Tile::kHaloColumns;
#pragma unroll
    for (int kx = 0; kx < kSide; ++kx) {
      uint32_t both[4];  // of all 32 channels, where a warp has no more than 8 outputs
      if constexpr (kWarpOuts == 8)
        ldmatrix_x4_trans(both, weights + (kx * Tile::kChunk + lane()) * Tile::kOutStride);
#pragma unroll
      for (int k = 0; k < Tile::kChunk; k += 16) {
        uint32_t a[kWarpRows][4];
#pragma unroll
        for (int r = 0; r < kWarpRows; ++r)
          load_a<Tile::kPixelStride>(a[r], input, row + r * Tile::kHaloColumns + kx, k);
        if constexpr (kWarpOuts == 8) {
#pragma unroll
          for (int r = 0; r < kWarpRows; ++r)
            mma_m16n8k16<bf16>(sums_[r][0], a[r], both[k / 8], both[k / 8 + 1]);
        } else {
#pragma unroll
          for (int n = 0; n < kWarpOuts / 16; ++n) {
            uint32_t b[4];
            load_b_columns<Tile::kOutStride>(b, weights, kx * Tile::kChunk + k, first_out() + n * 16);
#pragma unroll
            for (int r = 0; r < kWarpRows; ++r) {
              mma_m16n8k16<bf16>(sums_[r][2 * n], a[r], b[0], b[1]);
              mma_m16n8k16<bf16>(sums_[r][2 * n + 1], a[r], b[2], b[3]);
            }
          }
        }
      }
      between(kx);
    }
  }

  /// Through shared memory, for stores of 16 bytes; all of the block's is free for this.
  __device__ __forceinline__ void store(const ConvArguments<bf16>& a, const ConvOrigin& origin,
                                        void* shared) const {
    constexpr int kSlab = 16 * kSlabStride<kWarpOuts>;
    static_assert(kWarps * kSlab * sizeof(float) <= Tile::kSharedBytes);
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r)
      store_rows<kWarpOuts>(a, sums_[r], origin.out + first_out(),
                            static_cast<float*>(shared) + warp() * kSlab, [&](int number) {
                              const int64_t row = origin.row + first_row() + r,
                                            column = origin.column + number;
                              const bool inside = row < a.shape.out_height() && column < a.shape.out_width();
                              return inside ? row * a.shape.out_width() + column : int64_t{-1};
                            });
  }

 private:
  static constexpr int kWarps = Tile::kThreads / 32, kWarpOuts = kOuts / kAcross;
  static constexpr int kWarpRows = Tile::kRows / (kWarps / kAcross);

  static __device__ __forceinline__ int lane() {
    return static_cast<int>(threadIdx.x) % 32;
  }
  static __device__ __forceinline__ int warp() {
    return static_cast<int>(threadIdx.x) / 32;
  }
  static __device__ __forceinline__ int first_row() {
    return warp() / kAcross * kWarpRows;
  }
  static __device__ __forceinline__ int first_out() {
    return warp() % kAcross * kWarpOuts;
  }

  float sums_[kWarpRows][kWarpOuts / 8][4] = {};
};

}  // namespace wandistill::WD_KERNELS
