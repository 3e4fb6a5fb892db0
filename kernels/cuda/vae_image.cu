// The VAE's last layer as a picture (ops/vae_image.h), and pictures as bytes (ops/rgb8.h).
#include <cmath>

#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(int64_t pixels) {
  constexpr int64_t kMostBlocks = 4096;
  const int64_t blocks = (pixels + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    vae_image_kernel(int64_t pixels, int64_t plane, const T* __restrict__ x, float* __restrict__ image,
                     int32_t* not_finite) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t p = int64_t{blockIdx.x} * kThreads + threadIdx.x; p < pixels; p += step)
    for (int c = 0; c < 3; ++c) {
      const float value = widen(x[3 * p + c]);
      if (!std::isfinite(value)) atomicAdd(not_finite, 1);
      image[c * plane + p] = fminf(fmaxf(value, -1.0f), 1.0f);
    }
}

__global__ void __launch_bounds__(kThreads)
    rgb8_kernel(int64_t pixels, const float* __restrict__ image, uint8_t* __restrict__ rgb) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t p = int64_t{blockIdx.x} * kThreads + threadIdx.x; p < pixels; p += step)
    for (int c = 0; c < 3; ++c) {
      const float value = image[c * pixels + p];
      // fmaxf makes 0 of NaN.
      rgb[3 * p + c] = static_cast<uint8_t>(rintf(255 * fminf(fmaxf(value / 2 + 0.5f, 0.0f), 1.0f)));
    }
}

template <class T>
void vae_image(int64_t pixels, int64_t plane, const T* x, float* image, int32_t* not_finite,
               const Queue& queue) {
  launch(queue, blocks_for(pixels), kThreads, 0, vae_image_kernel<T>, pixels, plane, x, image, not_finite);
}

void rgb8(int64_t pixels, const float* image, uint8_t* rgb, const Queue& queue) {
  launch(queue, blocks_for(pixels), kThreads, 0, rgb8_kernel, pixels, image, rgb);
}

}  // namespace

template <class T>
void add_vae_image(OpsOf<T>& ops) {
  ops.vae_image = vae_image<T>;
  ops.rgb8 = rgb8;
}
template void add_vae_image(OpsOf<float>&);
template void add_vae_image(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
