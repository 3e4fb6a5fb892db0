// GELU in its tanh form, forward and backward (ops/activation.h). One pass over memory.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/gelu_function.h"
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

template <class T>
__global__ void __launch_bounds__(kElementThreads)
    gelu_forward_kernel(int64_t n, bool vectors, const T* __restrict__ x, T* __restrict__ y) {
  for_each<kVector<T>>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float v[N];
    load(x + i, v);
    for (float& e : v) e = gelu(e);
    store(y + i, v);
  });
}

// dx may be dy itself: no __restrict__ on these two.
template <class T>
__global__ void __launch_bounds__(kElementThreads)
    gelu_backward_kernel(int64_t n, bool vectors, const T* __restrict__ x, const T* dy, T* dx) {
  for_each<kVector<T>>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float v[N], d[N];
    load(x + i, v);
    load(dy + i, d);
    for (int k = 0; k < N; ++k) d[k] *= gelu_derivative(v[k]);
    store(dx + i, d);
  });
}

template <class T>
void gelu_forward(int64_t n, const T* x, T* y, const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = aligned<N>(x, y);
  launch(queue, element_blocks<N>(n, vectors), kElementThreads, 0, gelu_forward_kernel<T>, n, vectors, x, y);
}

template <class T>
void gelu_backward(int64_t n, const T* x, const T* dy, T* dx, const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = aligned<N>(x, dy, dx);
  launch(queue, element_blocks<N>(n, vectors), kElementThreads, 0, gelu_backward_kernel<T>, n, vectors, x, dy,
         dx);
}

}  // namespace

template <class T>
void add_gelu(OpsOf<T>& ops) {
  ops.gelu_forward = gelu_forward<T>;
  ops.gelu_backward = gelu_backward<T>;
}
template void add_gelu(OpsOf<float>&);
template void add_gelu(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
