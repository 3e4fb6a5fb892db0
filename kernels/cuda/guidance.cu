// Classifier-free guidance (ops/guidance.h).
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1024;

// out may be cond or uncond.
__global__ void __launch_bounds__(kThreads)
    guidance_kernel(int64_t n, float g, const float* cond, const float* uncond, float* out) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride)
    out[i] = uncond[i] + g * (cond[i] - uncond[i]);
}

void guidance(int64_t n, float g, const float* cond, const float* uncond, float* out, const Queue& queue) {
  const int64_t blocks = (n + kThreads - 1) / kThreads;
  launch(queue, static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kThreads, 0,
         guidance_kernel, n, g, cond, uncond, out);
}

}  // namespace

template <class T>
void add_guidance(OpsOf<T>& ops) {
  ops.guidance = guidance;
}
template void add_guidance(OpsOf<float>&);
template void add_guidance(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
