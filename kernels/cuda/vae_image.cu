// The VAE's last layer as the planes of a picture (ops/vae_image.h). A thread has as many neighbouring pixels
// as 16 bytes have elements, so that it reads and writes 16 bytes at a time where the tensors are aligned.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;

template <class T, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    vae_image_kernel(int64_t pixels, int64_t plane, const T* __restrict__ x, float* __restrict__ image,
                     int32_t* not_finite) {
  constexpr int kPixels = kVectors ? kVector<T> : 1, N = kVectors ? 4 : 1;  // N: floats per store
  bool finite = true;
  const int64_t step = int64_t{gridDim.x} * kThreads * kPixels;
  for (int64_t p = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kPixels; p < pixels; p += step) {
    float v[3][kPixels];  // as they lie in x
#pragma unroll
    for (int i = 0; i < 3; ++i) load(x + 3 * p + i * kPixels, v[i]);
#pragma unroll
    for (int c = 0; c < 3; ++c)
#pragma unroll
      for (int first = 0; first < kPixels; first += N) {
        float out[N];
#pragma unroll
        for (int k = 0; k < N; ++k) {
          const int at = (first + k) * 3 + c;
          const float value = v[at / kPixels][at % kPixels];
          finite = finite && value - value == 0;
          out[k] = value < -1.0f ? -1.0f : value > 1.0f ? 1.0f : value;  // NaN stays
        }
        store(image + c * plane + p + first, out);
      }
  }
  if (!finite) atomicOr(not_finite, 1);
}

template <class T>
void vae_image(int64_t pixels, int64_t plane, const T* x, float* image, int32_t* not_finite,
               const Queue& queue) {
  constexpr int64_t kMostBlocks = 2048;
  constexpr int N = kVector<T>;
  const bool vectors = pixels % N == 0 && plane % 4 == 0 && aligned<N>(x) && aligned<4>(image);
  const int64_t per_block = int64_t{kThreads} * (vectors ? N : 1),
                blocks = (pixels + per_block - 1) / per_block;
  launch(queue, static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kThreads, 0,
         vectors ? vae_image_kernel<T, true> : vae_image_kernel<T, false>, pixels, plane, x, image,
         not_finite);
}

}  // namespace

template <class T>
void add_vae_image(OpsOf<T>& ops) {
  ops.vae_image = vae_image<T>;
}
template void add_vae_image(OpsOf<float>&);
template void add_vae_image(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
