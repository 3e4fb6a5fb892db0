// One DDIM step (ops/ddim_update.h): guidance, conversion, update and fresh noise in one pass over memory.
// Operation by operation as on the CPU, so that the bits are the same.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/philox.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kGroup = 4;  // the numbers of a Philox block

template <bool kNoise>
__global__ void __launch_bounds__(kElementThreads)
    ddim_update_kernel(int64_t n, bool vectors, const DdimCoefficients* __restrict__ step,
                       const float* __restrict__ cond, const float* __restrict__ uncond,
                       float* __restrict__ x) {
  const DdimCoefficients c = *step;
  for_each<kGroup>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float m[N], u[N], v[N];
    load(cond + i, m);
    load(x + i, v);
    if (uncond != nullptr) {
      load(uncond + i, u);
      for (int k = 0; k < N; ++k) m[k] = __fmaf_rn(c.guidance, __fadd_rn(m[k], -u[k]), u[k]);
    }
    for (int k = 0; k < N; ++k) v[k] = __fmaf_rn(c.keep, v[k], __fmul_rn(c.move, m[k]));
    if constexpr (kNoise) {
      float z[kGroup];
      gaussian_block(c.noise_seed, c.noise_stream, i / kGroup, z);
      if constexpr (N == kGroup) {
        for (int k = 0; k < N; ++k) v[k] = __fmaf_rn(c.fresh, z[k], v[k]);
      } else {
        const int k = static_cast<int>(i % kGroup);
        v[0] = __fmaf_rn(c.fresh, k == 0 ? z[0] : k == 1 ? z[1] : k == 2 ? z[2] : z[3], v[0]);
      }
    }
    store(x + i, v);
  });
}

void ddim_update(int64_t n, const DdimCoefficients* step, bool noise, const float* cond, const float* uncond,
                 float* x, const Queue& queue) {
  const bool vectors = aligned<kGroup>(cond, uncond, x);
  launch(queue, element_blocks<kGroup>(n, vectors), kElementThreads, 0,
         noise ? ddim_update_kernel<true> : ddim_update_kernel<false>, n, vectors, step, cond, uncond, x);
}

}  // namespace

template <class T>
void add_ddim_update(OpsOf<T>& ops) {
  ops.ddim_update = ddim_update;
}
template void add_ddim_update(OpsOf<float>&);
template void add_ddim_update(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
