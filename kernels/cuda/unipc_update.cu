// One UniPC step (ops/unipc_update.h): every array passes once through memory. Operation by operation as on
// the CPU, so that the bits are the same.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"
#include "wandistill/error.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kGroup = 4, kMaxHistory = UnipcStep::kMaxHistory;

struct History {
  const float* at[kMaxHistory];
};

template <int N>
__device__ __forceinline__ void combine(const UnipcStep::Combination& c, int count, const float (&state)[N],
                                        const float (&x0)[N], const float (&history)[kMaxHistory][N],
                                        float (&out)[N]) {
  for (int k = 0; k < N; ++k) {
    float sum = __fmaf_rn(c.state, state[k], __fmul_rn(c.x0, x0[k]));
#pragma unroll
    for (int h = 0; h < kMaxHistory; ++h)
      if (h < count) sum = __fmaf_rn(c.history[h], history[h][k], sum);
    out[k] = sum;
  }
}

__global__ void __launch_bounds__(kElementThreads)
    unipc_update_kernel(int64_t n, bool vectors, const UnipcStep step, const float* __restrict__ velocity,
                        const History history, float* __restrict__ x0, float* __restrict__ last,
                        float* __restrict__ x) {
  for_each<kGroup>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float m[N], y[N], before[N], past[kMaxHistory][N] = {};
    load(velocity + i, m);
    load(x + i, y);
    if (step.correct) load(last + i, before);
#pragma unroll
    for (int h = 0; h < kMaxHistory; ++h)
      if (h < step.history) load(history.at[h] + i, past[h]);
    for (int k = 0; k < N; ++k) m[k] = __fmaf_rn(-step.sigma, m[k], y[k]);  // now x0
    if (step.correct) combine(step.corrector, step.history, before, m, past, y);
    store(x0 + i, m);
    store(last + i, y);
    combine(step.predictor, step.history, y, m, past, y);
    store(x + i, y);
  });
}

void unipc_update(int64_t n, const UnipcStep& step, const float* velocity, const float* const* history,
                  float* x0, float* last, float* x, const Queue& queue) {
  WD_REQUIRE(step.history >= 0 && step.history <= kMaxHistory);
  History past{};
  for (int h = 0; h < step.history; ++h) past.at[h] = history[h];
  const bool vectors = aligned<kGroup>(velocity, x0, last, x, past.at[0], past.at[1], past.at[2]);
  launch(queue, element_blocks<kGroup>(n, vectors), kElementThreads, 0, unipc_update_kernel, n, vectors, step,
         velocity, past, x0, last, x);
}

}  // namespace

template <class T>
void add_unipc_update(OpsOf<T>& ops) {
  ops.unipc_update = unipc_update;
}
template void add_unipc_update(OpsOf<float>&);
template void add_unipc_update(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
