// 2-D convolution, channels last (ops/conv2d.h), as an implicit matrix product: outputs by output channels,
// summed over taps and input channels. A block stages the pixels of its tile with their halo once per chunk
// of input channels, and all taps read them where they lie. While the products of one row of taps are made,
// the next row's weights come, and the next chunk's pixels; norm and SiLU, where asked for, are applied to
// these in place, between the products. Doubling the picture is reading each pixel twice in each direction.
#include "kernels/cuda/conv2d_float.h"
#include "kernels/cuda/conv2d_tensor.h"
#include "kernels/cuda/launch_shared.h"
#include "wandistill/gpu.h"

namespace wandistill::WD_KERNELS {
namespace {

template <class Product, class T>
__global__ void __launch_bounds__(Product::Tile::kThreads, Product::kBlocks)
    conv2d_kernel(const ConvArguments<T> a) {
  using Tile = typename Product::Tile;
  // A thread's pieces of the input tile, over the stages but the first, in which they arrive.
  constexpr int kPieces = (Tile::kPieces + Tile::kThreads - 1) / Tile::kThreads;
  constexpr int kTurns = (Tile::kSide - 1) * Product::kParts;
  constexpr int kPerTurn = kTurns > 0 ? (kPieces + kTurns - 1) / kTurns : 0;
  WD_DYNAMIC_SHARED(T, inputs);
  T* weights = inputs + 2 * Tile::kInput;
  float* scales = reinterpret_cast<float*>(weights + 2 * Tile::kWeights);
  const ConvOrigin origin = origin_of_block<Tile>(a.shape);
  const int64_t chunks = (a.shape.c_in + Tile::kChunk - 1) / Tile::kChunk;

  fetch_input<Tile>(a, origin, 0, inputs);
  fetch_weights<Tile>(a, origin, 0, 0, weights);
  cp_async_commit();
  if (a.gamma != nullptr) {
    fetch_scales<Tile>(a, origin, scales);
    cp_async_wait<0>();
    __syncthreads();
    norm_pieces<Tile>(a, scales, 0, 0, kPieces, inputs);
  }
  Product product;
  int now = 0;  // which of the two buffers of weights
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const T* input = inputs + chunk % 2 * Tile::kInput;
    T* next_input = inputs + (chunk + 1) % 2 * Tile::kInput;
    const int64_t channel = chunk * Tile::kChunk, next_channel = channel + Tile::kChunk;
    const bool more = chunk + 1 < chunks, norm_next = more && a.gamma != nullptr;
#pragma unroll 1
    for (int ky = 0; ky < Tile::kSide; ++ky, now = 1 - now) {
      cp_async_wait<0>();
      __syncthreads();  // what is needed now is there; what was needed last is free
      T* next_weights = weights + (1 - now) * Tile::kWeights;
      if (ky == 0 && more) fetch_input<Tile>(a, origin, next_channel, next_input);
      if (ky + 1 < Tile::kSide)
        fetch_weights<Tile>(a, origin, channel, ky + 1, next_weights);
      else if (more)
        fetch_weights<Tile>(a, origin, next_channel, 0, next_weights);
      cp_async_commit();
      product.multiply(input, ky, weights + now * Tile::kWeights, [&](int part) {
        if (!norm_next || ky == 0) return;
        const int first = ((ky - 1) * Product::kParts + part) * kPerTurn;
        norm_pieces<Tile>(a, scales, next_channel, first, first + kPerTurn, next_input);
      });
      if (Tile::kSide == 1 && norm_next) {
        cp_async_wait<0>();
        norm_pieces<Tile>(a, scales, next_channel, 0, kPieces, next_input);
      }
    }
  }
  __syncthreads();
  product.store(a, origin, inputs);
}

template <class Product, class T>
void run(const ConvArguments<T>& a, const Queue& queue) {
  using Tile = typename Product::Tile;
  launch_shared<conv2d_kernel<Product, T>, Tile::kSharedBytes>(queue, blocks_of<Tile>(a.shape),
                                                               Tile::kThreads, a);
}

/// As few outputs per block as there are, or 96, which divides the Wan VAE's widths.
template <int kSide>
void choose(const ConvArguments<float>& a, const Queue& queue) {
  const auto chosen = a.shape.c_out <= 4    ? run<FloatProduct<kSide, 16, 4, 2, 4>, float>
                      : a.shape.c_out <= 64 ? run<FloatProduct<kSide, 8, 32, 8, 4>, float>
                                            : run<FloatProduct<kSide, 8, 96, 8, 8>, float>;
  chosen(a, queue);
}
template <int kSide>
void choose(const ConvArguments<bf16>& a, const Queue& queue) {
  if (kSide == 3 && conv2d_on_hopper(a, queue)) return;
  const auto chosen = a.shape.c_out <= 8    ? run<TensorProduct<kSide, 8, 1>, bf16>
                      : a.shape.c_out <= 64 ? run<TensorProduct<kSide, 32, 1>, bf16>
                                            : run<TensorProduct<kSide, 96, 2>, bf16>;
  chosen(a, queue);
}

constexpr int kScaleThreads = 256;

/// scales [pixels]: pixel_scale of each.
template <class T, int N>
__global__ void __launch_bounds__(kScaleThreads)
    conv2d_scales_kernel(int64_t pixels, int64_t channels, const T* __restrict__ x,
                         float* __restrict__ scales) {
  for_each_pixel(pixels, channels, [&](int64_t pixel, int64_t own) {
    const float scale = pixel_scale<N>(x + pixel * channels, own);
    if (threadIdx.x % kPixelLanes == 0 && own > 0) scales[pixel] = scale;
  });
}

template <class T>
void conv2d_forward(const Conv2dShape& shape, const T* x, const T* gamma, const T* weight, const T* bias,
                    const T* residual, T* y, const Queue& queue) {
  constexpr int N = kVector<T>;
  const int64_t pixels = shape.height * shape.width;
  const bool vectors_in = shape.c_in % N == 0, vectors_out = shape.c_out % N == 0;
  DeviceBuffer<float> scales;
  if (gamma != nullptr) {
    scales = DeviceBuffer<float>(*queue.stream, pixels);
    launch(queue, pixel_blocks(pixels, kScaleThreads), kScaleThreads, 0,
           vectors_in && aligned<N>(x) ? conv2d_scales_kernel<T, N> : conv2d_scales_kernel<T, 1>, pixels,
           shape.c_in, x, scales.data());
  }
  const ConvArguments<T> arguments{shape,
                                   x,
                                   scales.data(),
                                   gamma,
                                   weight,
                                   bias,
                                   residual,
                                   y,
                                   vectors_in && aligned<N>(x, gamma),
                                   vectors_out && aligned<N>(weight),
                                   vectors_out && aligned<N>(bias, residual, static_cast<const T*>(y))};
  if (shape.kernel == 1)
    choose<1>(arguments, queue);
  else
    choose<3>(arguments, queue);
}

}  // namespace

template <class T>
void add_conv2d(OpsOf<T>& ops) {
  ops.conv2d_forward = conv2d_forward<T>;
}
template void add_conv2d(OpsOf<float>&);
template void add_conv2d(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
