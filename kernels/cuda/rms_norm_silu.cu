// The VAE's RMS norm with the activation behind it (ops/rms_norm_silu.h). Eight lanes per pixel; the second
// reading of its channels is from cache.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/pixel_norm.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;

// y may be x: no __restrict__ on these two. A lane writes only what it alone reads.
template <class T, int N, bool kSilu>
__global__ void __launch_bounds__(kThreads)
    rms_norm_silu_kernel(int64_t pixels, int64_t channels, const T* x, const T* __restrict__ gamma, T* y) {
  for_each_pixel(pixels, channels, [&](int64_t pixel, int64_t own) {
    const T* from = x + pixel * channels;
    const float scale = pixel_scale<N>(from, own);
#pragma unroll 4
    for (int64_t c = static_cast<int64_t>(threadIdx.x) % kPixelLanes * N; c < own; c += kPixelLanes * N) {
      float v[N], g[N];
      load(from + c, v);
      load(gamma + c, g);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        v[k] *= scale * g[k];
        if constexpr (kSilu) v[k] = silu_of(v[k]);
      }
      store(y + pixel * channels + c, v);
    }
  });
}

template <class T>
void rms_norm_silu_forward(int64_t pixels, int64_t channels, const T* x, const T* gamma, bool silu, T* y,
                           const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = channels % N == 0 && aligned<N>(x, gamma, y);
  const auto kernel = vectors ? (silu ? rms_norm_silu_kernel<T, N, true> : rms_norm_silu_kernel<T, N, false>)
                              : (silu ? rms_norm_silu_kernel<T, 1, true> : rms_norm_silu_kernel<T, 1, false>);
  launch(queue, pixel_blocks(pixels, kThreads), kThreads, 0, kernel, pixels, channels, x, gamma, y);
}

}  // namespace

template <class T>
void add_rms_norm_silu(OpsOf<T>& ops) {
  ops.rms_norm_silu_forward = rms_norm_silu_forward<T>;
}
template void add_rms_norm_silu(OpsOf<float>&);
template void add_rms_norm_silu(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
