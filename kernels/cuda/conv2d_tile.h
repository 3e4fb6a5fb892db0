// What a block of the convolution kernels has in shared memory: a tile of the picture with its halo, and
// weights.
#pragma once

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pixel_norm.h"
#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {

/// The op's arguments; scales [h, w]: pixel_scale of each pixel, where there is gamma. The flags: whether all
/// of the tensor may be read (or written) 16 bytes at a time.
template <class T>
struct ConvArguments {
  Conv2dShape shape;
  const T* x;
  const float* scales;
  const T *gamma, *weight, *bias, *residual;  // residual may be y
  T* y;
  bool input_vectors, weight_vectors, output_vectors;
};

/// kRows x 16 outputs of kOuts channels, from chunks of 64 bytes of input channels. kSide: the kernel's 3 or
/// 1. In shared memory pixels lie 80 bytes apart and rows of weights an odd multiple of 16, so that eight of
/// them lie in different banks.
template <class T, int kKernelSide, int kTileRows, int kTileOuts, int kBlockThreads>
struct ConvTile {
  using Element = T;
  static constexpr int kSide = kKernelSide, kRows = kTileRows, kColumns = 16, kOuts = kTileOuts;
  static constexpr int kThreads = kBlockThreads;
  static constexpr int kPiece = kVector<T>;  // elements in 16 bytes
  static constexpr int kPiecesPerPixel = 4, kChunk = kPiecesPerPixel * kPiece;
  static constexpr int kReach = kSide / 2, kHaloColumns = kColumns + 2 * kReach;
  static constexpr int kPixels = (kRows + 2 * kReach) * kHaloColumns, kPieces = kPixels * kPiecesPerPixel;
  static constexpr int kPixelStride = kChunk + kPiece;
  static constexpr int kOutStride = kOuts + (kOuts / kPiece % 2 == 0 ? kPiece : 0);
  static constexpr int kInput = kPixels * kPixelStride;         // elements of the input tile
  static constexpr int kWeights = kSide * kChunk * kOutStride;  // elements of one row of taps
  /// Two of each, and the pixels' scales.
  static constexpr size_t kSharedBytes = 2 * size_t{kInput + kWeights} * sizeof(T) + kPixels * sizeof(float);
};

/// Where a block's outputs begin.
struct ConvOrigin {
  int64_t row, column, out;
};

/// Blocks: tiles of the picture by groups of outputs, which are neighbours as they share the pixels.
template <class Tile>
unsigned blocks_of(const Conv2dShape& shape) {
  const auto parts = [](int64_t n, int64_t of) { return (n + of - 1) / of; };
  return static_cast<unsigned>(parts(shape.out_height(), Tile::kRows) *
                               parts(shape.out_width(), Tile::kColumns) * parts(shape.c_out, Tile::kOuts));
}
template <class Tile>
__device__ __forceinline__ ConvOrigin origin_of_block(const Conv2dShape& shape) {
  const int64_t outs = (shape.c_out + Tile::kOuts - 1) / Tile::kOuts;
  const int64_t across = (shape.out_width() + Tile::kColumns - 1) / Tile::kColumns;
  const int64_t tile = blockIdx.x / outs;
  return {tile / across * Tile::kRows, tile % across * Tile::kColumns, blockIdx.x % outs * Tile::kOuts};
}

/// 16 bytes into shared memory: the first `left` elements from `from`, zeros behind. By cp.async if
/// `vectors`; then left is at least 16 bytes or not positive.
template <class T>
__device__ __forceinline__ void fetch_piece(T* to, const T* from, int64_t left, bool vectors) {
  if (vectors) {
    cp_async16(to, from, left > 0);
  } else {
#pragma unroll
    for (int k = 0; k < kVector<T>; ++k) to[k] = k < left ? from[k] : narrow<T>(0);
  }
}

/// The pixel of x that is read for this one of the picture that is convolved; -1 outside.
__device__ __forceinline__ int64_t source_pixel(const Conv2dShape& shape, int64_t row, int64_t column) {
  if (row < 0 || row >= shape.out_height() || column < 0 || column >= shape.out_width()) return -1;
  const int half = shape.upsample ? 1 : 0;
  return (row >> half) * shape.width + (column >> half);
}
/// The same of a pixel of the tile.
template <class Tile>
__device__ __forceinline__ int64_t source_pixel(const Conv2dShape& shape, const ConvOrigin& origin,
                                                int pixel) {
  return source_pixel(shape, origin.row - Tile::kReach + pixel / Tile::kHaloColumns,
                      origin.column - Tile::kReach + pixel % Tile::kHaloColumns);
}

/// Channels [channel, channel + kChunk) of the tile's pixels.
template <class Tile, class T>
__device__ __forceinline__ void fetch_input(const ConvArguments<T>& a, const ConvOrigin& origin,
                                            int64_t channel, T* to) {
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kPieces; i += Tile::kThreads) {
    const int pixel = i / Tile::kPiecesPerPixel, c = i % Tile::kPiecesPerPixel * Tile::kPiece;
    const int64_t source = source_pixel<Tile>(a.shape, origin, pixel);
    const int64_t left = source < 0 ? 0 : a.shape.c_in - channel - c;
    fetch_piece(to + pixel * Tile::kPixelStride + c,
                left > 0 ? a.x + source * a.shape.c_in + channel + c : a.x, left, a.input_vectors);
  }
}

/// The weights of tap row `ky` from those input channels to kOuts outputs: rows kx, channel.
template <class Tile, class T>
__device__ __forceinline__ void fetch_weights(const ConvArguments<T>& a, const ConvOrigin& origin,
                                              int64_t channel, int ky, T* to) {
  constexpr int kPiecesPerRow = Tile::kOuts / Tile::kPiece;
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kSide * Tile::kChunk * kPiecesPerRow;
       i += Tile::kThreads) {
    const int row = i / kPiecesPerRow, o = i % kPiecesPerRow * Tile::kPiece;
    const int64_t c = channel + row % Tile::kChunk, tap = ky * Tile::kSide + row / Tile::kChunk;
    const int64_t left = c < a.shape.c_in ? a.shape.c_out - origin.out - o : 0;
    fetch_piece(to + row * Tile::kOutStride + o,
                left > 0 ? a.weight + (tap * a.shape.c_in + c) * a.shape.c_out + origin.out + o : a.weight,
                left, a.weight_vectors);
  }
}

/// Of the tile's pixels; 0, which keeps the zeros there, outside of the picture.
template <class Tile, class T>
__device__ __forceinline__ void fetch_scales(const ConvArguments<T>& a, const ConvOrigin& origin,
                                             float* scales) {
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kPixels; i += Tile::kThreads) {
    const int64_t source = source_pixel<Tile>(a.shape, origin, i);
    scales[i] = source < 0 ? 0.0f : a.scales[source];
  }
}

/// Norm and SiLU of the pieces number `first` to `last` (of those that this thread fetched), in place.
template <class Tile, class T>
__device__ __forceinline__ void norm_pieces(const ConvArguments<T>& a, const float* scales, int64_t channel,
                                            int first, int last, T* tile) {
  for (int number = first; number < last; ++number) {
    const int i = static_cast<int>(threadIdx.x) + number * Tile::kThreads;
    if (i >= Tile::kPieces) return;
    const int pixel = i / Tile::kPiecesPerPixel, at = i % Tile::kPiecesPerPixel * Tile::kPiece;
    const float scale = scales[pixel];
    const int64_t c = channel + at;
    if (c >= a.shape.c_in) continue;
    float v[Tile::kPiece], g[Tile::kPiece];
    load(tile + pixel * Tile::kPixelStride + at, v);
    if (a.input_vectors) {
      load(a.gamma + c, g);
    } else {
#pragma unroll
      for (int k = 0; k < Tile::kPiece; ++k) g[k] = c + k < a.shape.c_in ? widen(a.gamma[c + k]) : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < Tile::kPiece; ++k) v[k] = silu_of(v[k] * scale * g[k]);
    store(tile + pixel * Tile::kPixelStride + at, v);
  }
}

/// y = sums + bias + residual for the channels from `out` on of the pixel whose first element is y[at].
template <class T, int N>
__device__ __forceinline__ void store_outputs(const ConvArguments<T>& a, int64_t at, int64_t out,
                                              float (&sums)[N]) {
  static_assert(N == kVector<T>);
  if (a.output_vectors) {
    if (out >= a.shape.c_out) return;
    float b[N], r[N] = {};
    load(a.bias + out, b);
    if (a.residual != nullptr) load(a.residual + at + out, r);
#pragma unroll
    for (int k = 0; k < N; ++k) sums[k] += b[k] + r[k];
    store(a.y + at + out, sums);
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (out + k >= a.shape.c_out) continue;
      const float r = a.residual != nullptr ? widen(a.residual[at + out + k]) : 0.0f;
      a.y[at + out + k] = narrow<T>(sums[k] + widen(a.bias[out + k]) + r);
    }
  }
}

/// The same for a warp's sums on tensor cores, 16 rows [16, kOuts] that are output pixels: pixel_of(row) says
/// which, -1 for none. They go through `slab`, [16][kSlabStride<kOuts>], for stores of 16 bytes.
template <int kOuts>
constexpr int kSlabStride = kOuts + 4;
template <int kOuts, class PixelOf>
__device__ __forceinline__ void store_rows(const ConvArguments<bf16>& a, const float (&sums)[kOuts / 8][4],
                                           int64_t out, float* slab, PixelOf pixel_of) {
  constexpr int kStride = kSlabStride<kOuts>, kPieces = kOuts / 8;
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int n = 0; n < kOuts / 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<float2*>(slab + (lane / 4 + half * 8) * kStride + n * 8 + lane % 4 * 2) =
          make_float2(sums[n][2 * half], sums[n][2 * half + 1]);
  __syncwarp();
  for (int i = lane; i < 16 * kPieces; i += 32) {
    const int64_t pixel = pixel_of(i / kPieces);
    if (pixel < 0) continue;
    const float* from = slab + i / kPieces * kStride + i % kPieces * 8;
    const float4 left = *reinterpret_cast<const float4*>(from),
                 right = *reinterpret_cast<const float4*>(from + 4);
    float v[8] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
    store_outputs(a, pixel * a.shape.c_out, out + i % kPieces * 8, v);
  }
  __syncwarp();
}

/// The convolution by the kernel for Hopper (conv2d_hopper.cu); false, and nothing is done, if that is not
/// for the queue's device or these sizes.
bool conv2d_on_hopper(const ConvArguments<bf16>& a, const Queue& queue);

}  // namespace wandistill::WD_KERNELS
