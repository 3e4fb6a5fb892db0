// Root-mean-square norm as T5 has it (ops/rms_norm.h). One block per row, which is read twice, the second
// time from cache.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = kElementThreads;

// y may be x: no __restrict__ on these two.
template <class T>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(int64_t channels, float eps, bool vectors,
                                                            const T* x, const T* __restrict__ weight, T* y) {
  WD_SHARED(float, partial, [kThreads / 32]);
  const int64_t row = blockIdx.x * channels;
  float squares = 0;
  for_each<kVector<T>>(channels, vectors, threadIdx.x, kThreads, [&]<int N>(int64_t c, Count<N>) {
    float v[N];
    load(x + row + c, v);
    for (const float e : v) squares += e * e;
  });
  const float mean = block_sum<kThreads>(squares, partial) / static_cast<float>(channels);
  const float factor = rsqrtf(mean + eps);
  for_each<kVector<T>>(channels, vectors, threadIdx.x, kThreads, [&]<int N>(int64_t c, Count<N>) {
    float v[N], w[N];
    load(x + row + c, v);
    load(weight + c, w);
    for (int k = 0; k < N; ++k) v[k] *= factor * w[k];
    store(y + row + c, v);
  });
}

template <class T>
void rms_norm_forward(int64_t rows, int64_t channels, float eps, const T* x, const T* weight, T* y,
                      const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = channels % N == 0 && aligned<N>(x, weight, y);
  launch(queue, static_cast<unsigned>(rows), kThreads, 0, rms_norm_kernel<T>, channels, eps, vectors, x,
         weight, y);
}

}  // namespace

template <class T>
void add_rms_norm(OpsOf<T>& ops) {
  ops.rms_norm_forward = rms_norm_forward<T>;
}
template void add_rms_norm(OpsOf<float>&);
template void add_rms_norm(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
