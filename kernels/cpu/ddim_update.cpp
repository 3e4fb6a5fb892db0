#include "wandistill/ops/ddim_update.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"
#include "wandistill/philox.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kBlock = 16384;
constexpr int64_t kNoise = 1024;  // numbers at a time, on the stack

}  // namespace

// Explicit fma: the same bits whatever the compiler contracts.
void ddim_update(int64_t n, const DdimCoefficients* step, bool noise, const float* cond, const float* uncond,
                 float* x, const Queue& queue) {
  const DdimCoefficients c = *step;
  parallel_blocks(queue, n, kBlock, [&](int64_t begin, int64_t end) {
    if (uncond == nullptr) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) x[i] = std::fma(c.keep, x[i], c.move * cond[i]);
    } else {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        x[i] = std::fma(c.keep, x[i], c.move * std::fma(c.guidance, cond[i] - uncond[i], uncond[i]));
      }
    }
    if (!noise) return;
    float z[kNoise];  // while the block is in the cache
    for (int64_t at = begin; at < end; at += kNoise) {
      const int64_t count = std::min(kNoise, end - at);
      fill_gaussian(c.noise_seed, c.noise_stream, at, count, z);
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) x[at + i] = std::fma(c.fresh, z[i], x[at + i]);
    }
  });
}

}  // namespace wandistill::cpu
