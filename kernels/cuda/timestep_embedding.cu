// The sinusoidal timestep embedding (ops/patchify.h).
#include <cmath>

#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 128;

/// One block per timestep. Angles reach 1000, where an ulp more or less of the frequency shows: it is the
/// float32 next to the exponential, as the twin has it.
template <class T>
__global__ void __launch_bounds__(kThreads)
    timestep_embedding_kernel(int64_t dim, const float* __restrict__ timesteps, T* __restrict__ out) {
  const int64_t half = dim / 2;
  T* row = out + blockIdx.x * dim;
  const float t = timesteps[blockIdx.x];
  for (int64_t i = threadIdx.x; i < half; i += kThreads) {
    constexpr float kMinusLog = -9.210340371976184f;  // -log(10000)
    const float exponent = kMinusLog * static_cast<float>(i) / static_cast<float>(half);
    const float angle = t * static_cast<float>(std::exp(static_cast<double>(exponent)));
    row[i] = narrow<T>(cosf(angle));
    row[half + i] = narrow<T>(sinf(angle));
  }
}

template <class T>
void timestep_embedding(int64_t batch, int64_t dim, const float* timesteps, T* out, const Queue& queue) {
  launch(queue, static_cast<unsigned>(batch), kThreads, 0, timestep_embedding_kernel<T>, dim, timesteps, out);
}

}  // namespace

template <class T>
void add_timestep_embedding(OpsOf<T>& ops) {
  ops.timestep_embedding = timestep_embedding<T>;
}
template void add_timestep_embedding(OpsOf<float>&);
template void add_timestep_embedding(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
