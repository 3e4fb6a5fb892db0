// The sum of squares in double (ops/optimizer.h), in two stages.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"
#include "wandistill/gpu.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kGroup = 4, kThreads = kElementThreads;

__global__ void __launch_bounds__(kThreads)
    squared_norm_kernel(int64_t n, bool vectors, const float* __restrict__ x, double* __restrict__ partial) {
  WD_SHARED(double, of_warps, [kThreads / 32]);
  double sum = 0;
  for_each<kGroup>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float v[N];
    load(x + i, v);
    for (const float e : v) sum += static_cast<double>(e) * e;
  });
  sum = block_sum<kThreads>(sum, of_warps);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

void squared_norm(int64_t n, const float* x, double* result, const Queue& queue) {
  const bool vectors = aligned<kGroup>(x);
  const unsigned blocks = n > 0 ? element_blocks<kGroup>(n, vectors) : 1;
  DeviceBuffer<double> partial(*queue.stream, blocks);
  launch(queue, blocks, kThreads, 0, squared_norm_kernel, n, vectors, x, partial.data());
  launch(queue, 1, kThreads, 0, sum_partials_kernel<kThreads, double>, int64_t{blocks}, partial.data(),
         result);
}

}  // namespace

template <class T>
void add_squared_norm(OpsOf<T>& ops) {
  ops.squared_norm = squared_norm;
}
template void add_squared_norm(OpsOf<float>&);
template void add_squared_norm(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
