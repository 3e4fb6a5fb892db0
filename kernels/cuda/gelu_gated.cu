// Gated GELU (ops/gelu_gated.h). One pass over memory.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/gelu_function.h"
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

// y may be gate or value: no __restrict__.
template <class T>
__global__ void __launch_bounds__(kElementThreads)
    gelu_gated_kernel(int64_t n, bool vectors, const T* gate, const T* value, T* y) {
  for_each<kVector<T>>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float g[N], v[N];
    load(gate + i, g);
    load(value + i, v);
    for (int k = 0; k < N; ++k) v[k] *= gelu(g[k]);
    store(y + i, v);
  });
}

template <class T>
void gelu_gated_forward(int64_t n, const T* gate, const T* value, T* y, const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = aligned<N>(gate, value, y);
  launch(queue, element_blocks<N>(n, vectors), kElementThreads, 0, gelu_gated_kernel<T>, n, vectors, gate,
         value, y);
}

}  // namespace

template <class T>
void add_gelu_gated(OpsOf<T>& ops) {
  ops.gelu_gated_forward = gelu_gated_forward<T>;
}
template void add_gelu_gated(OpsOf<float>&);
template void add_gelu_gated(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
