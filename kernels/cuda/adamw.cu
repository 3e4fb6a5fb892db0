// The optimizer's decision on a step, and the step (ops/optimizer.h): one pass over memory.
#include <cmath>

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kGroup = 4;

__global__ void plan_update_kernel(const AdamWStep step, const double* squared_norm, UpdateState* state) {
  UpdateState s = *state;
  s.skip = !std::isfinite(*squared_norm);
  if (s.skip) {
    ++s.skipped;
    ++s.skipped_in_row;
  } else {
    s.skipped_in_row = 0;
    ++s.updates;
    const double updates = static_cast<double>(s.updates);
    s.correction1 = 1 - std::pow(static_cast<double>(step.beta1), updates);
    s.correction2 = 1 - std::pow(static_cast<double>(step.beta2), updates);
    const double scale = step.clip / (std::sqrt(*squared_norm) + 1e-6);
    s.gradient_scale = step.clip > 0 && scale < 1 ? static_cast<float>(scale) : 1.0f;
    const double young = (1 + updates) / (10 + updates);
    s.ema_decay = young < step.ema_decay ? static_cast<float>(young) : step.ema_decay;
  }
  *state = s;
}

template <class T>
__global__ void __launch_bounds__(kElementThreads)
    adamw_kernel(const AdamWStep s, const UpdateState* __restrict__ state, int64_t n, bool vectors,
                 const float* __restrict__ gradient, float* __restrict__ weight, float* __restrict__ m,
                 float* __restrict__ v, float* __restrict__ ema, T* __restrict__ rounded) {
  if (state->skip) return;
  const float step_size = static_cast<float>(s.lr / state->correction1),
              v_scale = static_cast<float>(1 / state->correction2), keep = 1.0f - s.lr * s.weight_decay,
              scale = state->gradient_scale, decay = state->ema_decay;
  for_each<kGroup>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float g[N], w[N], first[N], second[N], average[N];
    load(gradient + i, g);
    load(weight + i, w);
    load(m + i, first);
    load(v + i, second);
    if (ema != nullptr) load(ema + i, average);
    for (int k = 0; k < N; ++k) {
      g[k] *= scale;
      first[k] = s.beta1 * first[k] + (1.0f - s.beta1) * g[k];
      second[k] = s.beta2 * second[k] + (1.0f - s.beta2) * g[k] * g[k];
      w[k] = w[k] * keep - step_size * first[k] / (sqrtf(second[k] * v_scale) + s.eps);
    }
    store(weight + i, w);
    store(m + i, first);
    store(v + i, second);
    if (rounded != nullptr) store(rounded + i, w);
    if (ema == nullptr) return;
    for (int k = 0; k < N; ++k) average[k] = decay * average[k] + (1.0f - decay) * w[k];
    store(ema + i, average);
  });
}

void plan_update(const AdamWStep& step, const double* squared_norm, UpdateState* state, const Queue& queue) {
  launch(queue, 1, 1, 0, plan_update_kernel, step, squared_norm, state);
}

template <class T>
void adamw(const AdamWStep& step, const UpdateState* state, int64_t n, const float* gradient, float* weight,
           float* m, float* v, float* ema, T* rounded, const Queue& queue) {
  const bool vectors = aligned<kGroup>(gradient, weight, m, v, ema, rounded);
  launch(queue, element_blocks<kGroup>(n, vectors), kElementThreads, 0, adamw_kernel<T>, step, state, n,
         vectors, gradient, weight, m, v, ema, rounded);
}

}  // namespace

template <class T>
void add_adamw(OpsOf<T>& ops) {
  ops.plan_update = plan_update;
  ops.adamw = adamw<T>;
}
template void add_adamw(OpsOf<float>&);
template void add_adamw(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
