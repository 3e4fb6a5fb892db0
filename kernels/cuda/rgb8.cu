// A picture in [-1, 1] as bytes (ops/rgb8.h). A thread has four neighbouring pixels: 12 bytes out, in words
// where the tensors are aligned.
#include <cmath>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256, kPixels = 4;

/// round(255 clamp(x / 2 + 1/2, 0, 1)), halves to even; NaN compares false: 0.
__device__ __forceinline__ uint32_t byte_of(float x) {
  const float y = x / 2 + 0.5f;
  const float unit = y > 0 ? (y < 1 ? y : 1.0f) : 0.0f;
  return static_cast<uint32_t>(rintf(unit * 255));
}

__global__ void __launch_bounds__(kThreads)
    rgb8_kernel(int64_t pixels, bool vectors, const float* __restrict__ image, uint8_t* __restrict__ rgb) {
  const int64_t step = int64_t{gridDim.x} * kThreads * kPixels;
  for (int64_t p = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kPixels; p < pixels; p += step) {
    if (vectors) {
      float v[3][kPixels];
#pragma unroll
      for (int c = 0; c < 3; ++c) load(image + c * pixels + p, v[c]);
#pragma unroll
      for (int word = 0; word < 3; ++word) {
        uint32_t bytes = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = word * 4 + i;
          bytes |= byte_of(v[at % 3][at / 3]) << (8 * i);
        }
        reinterpret_cast<uint32_t*>(rgb + 3 * p)[word] = bytes;
      }
    } else {
      for (int64_t q = p; q < pixels && q < p + kPixels; ++q)
        for (int c = 0; c < 3; ++c) rgb[3 * q + c] = static_cast<uint8_t>(byte_of(image[c * pixels + q]));
    }
  }
}

void rgb8(int64_t pixels, const float* image, uint8_t* rgb, const Queue& queue) {
  constexpr int64_t kMostBlocks = 2048, kPerBlock = int64_t{kThreads} * kPixels;
  const int64_t blocks = (pixels + kPerBlock - 1) / kPerBlock;
  const bool vectors =
      pixels % kPixels == 0 && aligned<4>(image) && reinterpret_cast<uintptr_t>(rgb) % 4 == 0;
  launch(queue, static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kThreads, 0, rgb8_kernel,
         pixels, vectors, image, rgb);
}

}  // namespace

template <class T>
void add_rgb8(OpsOf<T>& ops) {
  ops.rgb8 = rgb8;
}
template void add_rgb8(OpsOf<float>&);
template void add_rgb8(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
