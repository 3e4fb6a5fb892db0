#include "wandistill/ops/unipc_update.h"

#include <cmath>

#include "parallel.h"

namespace wandistill::cpu {
namespace {

/// out := c of (state, x0, history) on [begin, end); out may be state.
void combine(const UnipcStep::Combination& c, const float* state, const float* x0,
             const float* const* history, int count, int64_t begin, int64_t end, float* out) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) out[i] = std::fma(c.state, state[i], c.x0 * x0[i]);
  for (int k = 0; k < count; ++k) {
    const float factor = c.history[k];
    const float* h = history[k];
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) out[i] = std::fma(factor, h[i], out[i]);
  }
}

}  // namespace

// Blocks that fit the second-level cache, so that the passes over a block cost one trip to memory.
void unipc_update(int64_t n, const UnipcStep& step, const float* velocity, const float* const* history,
                  float* x0, float* last, float* x, const Queue& queue) {
  parallel_blocks(queue, n, int64_t{1} << 12, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) x0[i] = std::fma(-step.sigma, velocity[i], x[i]);
    if (step.correct) {
      combine(step.corrector, last, x0, history, step.history, begin, end, last);
    } else {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) last[i] = x[i];
    }
    combine(step.predictor, last, x0, history, step.history, begin, end, x);
  });
}

}  // namespace wandistill::cpu
