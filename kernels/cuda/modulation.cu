// A block's modulation from its table and the shared one (ops/modulation.h): a few thousand elements, one
// thread each.
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads)
    modulation_kernel(int64_t batch, int64_t n, int64_t period, const T* __restrict__ table,
                      const T* __restrict__ shared, T* __restrict__ out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= n) return;
  for (int64_t b = 0; b < batch; ++b)
    out[b * n + i] = narrow<T>(widen(table[i]) + widen(shared[b * period + i % period]));
}

__global__ void __launch_bounds__(kThreads)
    modulation_dtable_kernel(int64_t batch, int64_t n, const float* __restrict__ dout,
                             float* __restrict__ dtable) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= n) return;
  float sum = 0;
  for (int64_t b = 0; b < batch; ++b) sum += dout[b * n + i];
  dtable[i] += sum;
}

__global__ void __launch_bounds__(kThreads)
    modulation_dshared_kernel(int64_t batch, int64_t n, int64_t period, const float* __restrict__ dout,
                              float* __restrict__ dshared) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= batch * period) return;
  const int64_t b = i / period, within = i % period;
  float sum = 0;
  for (int64_t at = within; at < n; at += period) sum += dout[b * n + at];
  dshared[i] += sum;
}

unsigned blocks_for(int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

template <class T>
void modulation_forward(int64_t batch, int64_t n, int64_t period, const T* table, const T* shared, T* out,
                        const Queue& queue) {
  launch(queue, blocks_for(n), kThreads, 0, modulation_kernel<T>, batch, n, period, table, shared, out);
}

void modulation_backward(int64_t batch, int64_t n, int64_t period, const float* dout, float* dtable,
                         float* dshared, const Queue& queue) {
  launch(queue, blocks_for(n), kThreads, 0, modulation_dtable_kernel, batch, n, dout, dtable);
  launch(queue, blocks_for(batch * period), kThreads, 0, modulation_dshared_kernel, batch, n, period, dout,
         dshared);
}

}  // namespace

template <class T>
void add_modulation(OpsOf<T>& ops) {
  ops.modulation_forward = modulation_forward<T>;
  ops.modulation_backward = modulation_backward;
}
template void add_modulation(OpsOf<float>&);
template void add_modulation(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
