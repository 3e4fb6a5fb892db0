// Between float32 and T (ops/cast.h).
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kGroup = 4;  // 16 bytes of floats

template <class From, class To>
__global__ void __launch_bounds__(kElementThreads)
    cast_kernel(int64_t n, bool vectors, const From* __restrict__ x, To* __restrict__ y) {
  for_each<kGroup>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float v[N];
    load(x + i, v);
    store(y + i, v);
  });
}

template <class From, class To>
void cast(int64_t n, const From* x, To* y, const Queue& queue) {
  const bool vectors = aligned<kGroup>(x, y);
  launch(queue, element_blocks<kGroup>(n, vectors), kElementThreads, 0, cast_kernel<From, To>, n, vectors, x,
         y);
}

}  // namespace

template <class T>
void add_cast(OpsOf<T>& ops) {
  ops.narrow = cast<float, T>;
  ops.widen = cast<T, float>;
}
template void add_cast(OpsOf<float>&);
template void add_cast(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
