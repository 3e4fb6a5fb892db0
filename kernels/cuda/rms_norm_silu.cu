// The VAE's RMS norm with SiLU behind it (ops/rms_norm_silu.h). A warp per pixel.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/pixel_norm.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;

// y may be x: no __restrict__.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    rms_norm_silu_kernel(int64_t pixels, int64_t channels, const T* x, const T* __restrict__ gamma, bool silu,
                         T* y) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t step = int64_t{gridDim.x} * kWarps;
  for (int64_t pixel = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; pixel < pixels; pixel += step) {
    const float scale = pixel_scale<N>(x + pixel * channels, channels);
    for (int64_t c = lane * N; c < channels; c += 32 * N) {
      float v[N], g[N];
      load(x + pixel * channels + c, v);
      load(gamma + c, g);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        v[k] *= scale * g[k];
        if (silu) v[k] = silu_of(v[k]);
      }
      store(y + pixel * channels + c, v);
    }
  }
}

template <class T>
void rms_norm_silu_forward(int64_t pixels, int64_t channels, const T* x, const T* gamma, bool silu, T* y,
                           const Queue& queue) {
  constexpr int N = kVector<T>;
  constexpr int64_t kMostBlocks = 2048;
  const bool vectors = channels % N == 0 && aligned<N>(x, gamma, y);
  const int64_t blocks = (pixels + kWarps - 1) / kWarps;
  launch(queue, static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kThreads, 0,
         vectors ? rms_norm_silu_kernel<T, N> : rms_norm_silu_kernel<T, 1>, pixels, channels, x, gamma, silu,
         y);
}

}  // namespace

template <class T>
void add_rms_norm_silu(OpsOf<T>& ops) {
  ops.rms_norm_silu_forward = rms_norm_silu_forward<T>;
}
template void add_rms_norm_silu(OpsOf<float>&);
template void add_rms_norm_silu(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
