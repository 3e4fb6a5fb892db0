// 2-D convolution, channels last (ops/conv2d.h), as an implicit matrix product. In bf16 on tensor cores: a
// block has 16 x 16 outputs of up to 96 channels, a warp two rows of them. Of every 16 input channels the
// tile with its halo is staged once, and all taps read it where it lies; it and the taps' weights for the
// next 16 channels come while the present ones are multiplied.
#include "kernels/cuda/conv2d_float.h"
#include "kernels/cuda/conv2d_tile.h"
#include "kernels/cuda/fragments.h"
#include "wandistill/gpu.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kChunk = 16, kWarps = kConvThreads / 32;
constexpr int kPixelStride = kTileStride<kChunk>;  // elements

template <int kKernel, bool kUpsample, int kChannels>
struct Plan {
  using Tile = ConvTile<kKernel, kUpsample>;
  static constexpr int kTaps = kKernel * kKernel;
  static constexpr int kPixels = Tile::kSide * Tile::kSide, kInput = kPixels * kPixelStride;
  static constexpr int kWeights = kTaps * kChunk * kTileStride<kChannels>;
  static constexpr size_t kSharedBytes = 2 * size_t{kInput + kWeights} * sizeof(bf16);
};

/// Stages the tile's pixels, channels [channel, channel + 16): by cp.async where nothing is to be done to
/// them and they may be read 16 bytes at a time.
template <class Tile, bool kVectors>
__device__ __forceinline__ void stage_input(bf16* to, const ConvInput<bf16>& input, int64_t row,
                                            int64_t column, int64_t channel) {
  constexpr int kSide = Tile::kSide, kPiece = kVectors ? 8 : 1, kPieces = kChunk / kPiece;
  for (int i = static_cast<int>(threadIdx.x); i < kSide * kSide * kPieces; i += kConvThreads) {
    const int pixel = i / kPieces, c = i % kPieces * kPiece;
    const int64_t r = row + pixel / kSide, s = column + pixel % kSide;
    bf16* at = to + pixel * kPixelStride + c;
    if (kVectors && input.gamma == nullptr) {
      const bool valid =
          r >= 0 && r < input.height && s >= 0 && s < input.width && channel + c < input.channels;
      cp_async16(at, valid ? input.x + (r * input.width + s) * input.channels + channel + c : input.x, valid);
    } else {
      float v[kPiece];
      input.read(r, s, channel + c, v);
      store(at, v);
    }
  }
}

/// Stages the weights of all taps from input channels [channel, channel + 16) to output channels
/// [out, out + kChannels).
template <int kTaps, int kChannels, bool kVectors>
__device__ __forceinline__ void stage_weights(bf16* to, const Conv2dShape& shape, const bf16* weight,
                                              int64_t channel, int64_t out) {
  constexpr int kPiece = kVectors ? 8 : 1, kPieces = kChannels / kPiece;
  for (int i = static_cast<int>(threadIdx.x); i < kTaps * kChunk * kPieces; i += kConvThreads) {
    const int row = i / kPieces, o = i % kPieces * kPiece;  // row: tap and channel
    const int64_t c = channel + row % kChunk;
    const bool valid = c < shape.c_in && out + o < shape.c_out;
    const bf16* from = valid ? weight + (row / kChunk * shape.c_in + c) * shape.c_out + out + o : weight;
    bf16* at = to + row * kTileStride<kChannels> + o;
    if constexpr (kVectors)
      cp_async16(at, from, valid);
    else
      *at = valid ? *from : narrow<bf16>(0);
  }
}

/// Two neighbouring channels of an output; the second may be behind the last.
__device__ __forceinline__ void store_pair(const Conv2dShape& shape, const bf16* bias, const bf16* residual,
                                           bf16* y, int64_t pixel, int64_t channel, float left, float right) {
  const int64_t at = pixel * shape.c_out + channel;
  const bool second = channel + 1 < shape.c_out;
  left += widen(bias[channel]) + (residual != nullptr ? widen(residual[at]) : 0);
  if (second) right += widen(bias[channel + 1]) + (residual != nullptr ? widen(residual[at + 1]) : 0);
  if (shape.c_out % 2 == 0 && reinterpret_cast<uintptr_t>(y) % 4 == 0) {
    *reinterpret_cast<uint32_t*>(y + at) = pack2<bf16>(left, right);
  } else {
    y[at] = narrow<bf16>(left);
    if (second) y[at + 1] = narrow<bf16>(right);
  }
}

/// Grid: columns, rows, output channels.
template <int kKernel, bool kUpsample, int kChannels, bool kVectors>
__global__ void __launch_bounds__(kConvThreads)
    conv2d_kernel(const Conv2dShape shape, const ConvInput<bf16> input, const bf16* __restrict__ weight,
                  const bf16* __restrict__ bias, const bf16* residual, bf16* y) {
  using P = Plan<kKernel, kUpsample, kChannels>;
  using Tile = typename P::Tile;
  WD_DYNAMIC_SHARED(bf16, shared);
  bf16 *inputs = shared, *weights = shared + 2 * P::kInput;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t first_row = int64_t{blockIdx.y} * kConvTile, first_column = int64_t{blockIdx.x} * kConvTile;
  const int64_t first_out = int64_t{blockIdx.z} * kChannels;
  const int64_t chunks = (shape.c_in + kChunk - 1) / kChunk;
  const auto stage = [&](int64_t chunk) {
    stage_input<Tile, kVectors>(inputs + chunk % 2 * P::kInput, input, Tile::origin(first_row),
                                Tile::origin(first_column), chunk * kChunk);
    stage_weights<P::kTaps, kChannels, kVectors>(weights + chunk % 2 * P::kWeights, shape, weight,
                                                 chunk * kChunk, first_out);
  };
  stage(0);
  cp_async_commit();
  float sums[2][kChannels / 8][4] = {};
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    if (chunk + 1 < chunks) stage(chunk + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const bf16 *tile = inputs + chunk % 2 * P::kInput, *taps = weights + chunk % 2 * P::kWeights;
#pragma unroll 1
    for (int tap = 0; tap < P::kTaps; ++tap) {
      uint32_t a[2][4];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int pixel =
            Tile::at(2 * warp + r, tap / kKernel) * Tile::kSide + Tile::at(lane % 16, tap % kKernel);
        ldmatrix_x4(a[r], tile + pixel * kPixelStride + lane / 16 * 8);
      }
#pragma unroll
      for (int n = 0; n < kChannels / 16; ++n) {
        uint32_t b[4];
        load_b_columns<kTileStride<kChannels>>(b, taps, tap * kChunk, n * 16);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          mma_m16n8k16<bf16>(sums[r][2 * n], a[r], b[0], b[1]);
          mma_m16n8k16<bf16>(sums[r][2 * n + 1], a[r], b[2], b[3]);
        }
      }
    }
    __syncthreads();
  }
  cp_async_wait<0>();
#pragma unroll
  for (int r = 0; r < 2; ++r)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first_row + 2 * warp + r, column = first_column + lane / 4 + half * 8;
      if (row >= shape.out_height() || column >= shape.out_width()) continue;
#pragma unroll
      for (int n = 0; n < kChannels / 8; ++n) {
        const int64_t channel = first_out + n * 8 + lane % 4 * 2;
        if (channel < shape.c_out)
          store_pair(shape, bias, residual, y, row * shape.out_width() + column, channel,
                     sums[r][n][2 * half], sums[r][n][2 * half + 1]);
      }
    }
}

template <class Use>
void choose_taps(const Conv2dShape& shape, Use use) {
  if (shape.kernel == 1) return use.template operator()<1, false>();
  if (shape.upsample) return use.template operator()<3, true>();
  use.template operator()<3, false>();
}

dim3 grid_for(const Conv2dShape& shape, int channels) {
  const auto tiles = [](int64_t n, int64_t tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  return {tiles(shape.out_width(), kConvTile), tiles(shape.out_height(), kConvTile),
          tiles(shape.c_out, channels)};
}

template <int kKernel, bool kUpsample, int kChannels>
void launch_conv2d(const Conv2dShape& shape, bool vectors, const ConvInput<bf16>& input, const bf16* weight,
                   const bf16* bias, const bf16* residual, bf16* y, const Queue& queue) {
  constexpr size_t kBytes = Plan<kKernel, kUpsample, kChannels>::kSharedBytes;
  launch(queue, grid_for(shape, kChannels), kConvThreads, kBytes,
         vectors ? conv2d_kernel<kKernel, kUpsample, kChannels, true>
                 : conv2d_kernel<kKernel, kUpsample, kChannels, false>,
         shape, input, weight, bias, residual, y);
}

void convolve(const Conv2dShape& shape, const ConvInput<bf16>& input, const bf16* weight, const bf16* bias,
              const bf16* residual, bf16* y, const Queue& queue) {
  const bool vectors =
      shape.c_in % 8 == 0 && shape.c_out % 8 == 0 && aligned<8>(input.x, input.gamma, weight);
  choose_taps(shape, [&]<int kKernel, bool kUpsample>() {
    // As few channels as there are, or a width that divides them.
    const auto launcher = shape.c_out <= 16       ? launch_conv2d<kKernel, kUpsample, 16>
                          : shape.c_out % 96 == 0 ? launch_conv2d<kKernel, kUpsample, 96>
                                                  : launch_conv2d<kKernel, kUpsample, 64>;
    launcher(shape, vectors, input, weight, bias, residual, y, queue);
  });
}

void convolve(const Conv2dShape& shape, const ConvInput<float>& input, const float* weight, const float* bias,
              const float* residual, float* y, const Queue& queue) {
  choose_taps(shape, [&]<int kKernel, bool kUpsample>() {
    launch(queue, grid_for(shape, kFloatConvChannels), kConvThreads, 0,
           conv2d_float_kernel<kKernel, kUpsample>, shape, input, weight, bias, residual, y);
  });
}

template <class T>
void conv2d_forward(const Conv2dShape& shape, const T* x, const T* gamma, const T* weight, const T* bias,
                    const T* residual, T* y, const Queue& queue) {
  const int64_t pixels = shape.height * shape.width;
  ConvInput<T> input{x, shape.height, shape.width, shape.c_in, nullptr, gamma};
  DeviceBuffer<float> scale;
  if (gamma != nullptr) {
    constexpr int N = kVector<T>;
    constexpr int64_t kMostBlocks = 2048;
    scale = DeviceBuffer<float>(*queue.stream, pixels);
    const int64_t blocks = (pixels + kWarps - 1) / kWarps;
    const bool vectors = shape.c_in % N == 0 && aligned<N>(x);
    launch(queue, static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kConvThreads, 0,
           vectors ? conv2d_scales_kernel<T, N> : conv2d_scales_kernel<T, 1>, pixels, shape.c_in, x,
           scale.data());
    input.scale = scale.data();
  }
  convolve(shape, input, weight, bias, residual, y, queue);
}

}  // namespace

template <class T>
void add_conv2d(OpsOf<T>& ops) {
  ops.conv2d_forward = conv2d_forward<T>;
}
template void add_conv2d(OpsOf<float>&);
template void add_conv2d(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
