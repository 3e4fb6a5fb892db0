// GELU in its tanh form, forward and backward (ops/activation.h). One pass over memory, 16 bytes at a time
// where the tensors are aligned.
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks =
    1024;  // about as many as a large GPU runs at once; the grid strides over the rest

constexpr float kSlope = 0.7978845608028654f;  // sqrt(2 / pi)
constexpr float kCubic = 0.044715f;

__device__ __forceinline__ float gelu(float x) {
  return 0.5f * x * (1.0f + tanhf(kSlope * (x + kCubic * x * x * x)));
}

__device__ __forceinline__ float gelu_derivative(float x) {
  const float t = tanhf(kSlope * (x + kCubic * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * kSlope * (1.0f + 3.0f * kCubic * x * x);
}

/// Calls four(i) for the first element of every group of four if `vectors`, one(i) for all others.
template <class Four, class One>
__device__ __forceinline__ void for_each(int64_t n, bool vectors, Four four, One one) {
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  const int64_t groups = vectors ? n / 4 : 0;
  for (int64_t i = first; i < groups; i += stride) four(i * 4);
  for (int64_t i = groups * 4 + first; i < n; i += stride) one(i);
}

__global__ void __launch_bounds__(kThreads)
    gelu_forward_kernel(int64_t n, bool vectors, const float* __restrict__ x, float* __restrict__ y) {
  for_each(
      n, vectors,
      [&](int64_t i) {
        const float4 v = *reinterpret_cast<const float4*>(x + i);
        *reinterpret_cast<float4*>(y + i) = make_float4(gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w));
      },
      [&](int64_t i) { y[i] = gelu(x[i]); });
}

// dx may be dy itself: no __restrict__ on these two.
__global__ void __launch_bounds__(kThreads)
    gelu_backward_kernel(int64_t n, bool vectors, const float* __restrict__ x, const float* dy, float* dx) {
  for_each(
      n, vectors,
      [&](int64_t i) {
        const float4 v = *reinterpret_cast<const float4*>(x + i),
                     d = *reinterpret_cast<const float4*>(dy + i);
        *reinterpret_cast<float4*>(dx + i) =
            make_float4(gelu_derivative(v.x) * d.x, gelu_derivative(v.y) * d.y, gelu_derivative(v.z) * d.z,
                        gelu_derivative(v.w) * d.w);
      },
      [&](int64_t i) { dx[i] = gelu_derivative(x[i]) * dy[i]; });
}

bool aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % sizeof(float4) == 0;
}

unsigned blocks_for(int64_t n, bool vectors) {
  const int64_t threads = vectors ? (n + 3) / 4 : n, blocks = (threads + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

void gelu_forward(int64_t n, const float* x, float* y, const Queue& queue) {
  const bool vectors = aligned(x) && aligned(y);
  launch(queue, blocks_for(n, vectors), kThreads, 0, gelu_forward_kernel, n, vectors, x, y);
}

void gelu_backward(int64_t n, const float* x, const float* dy, float* dx, const Queue& queue) {
  const bool vectors = aligned(x) && aligned(dy) && aligned(dx);
  launch(queue, blocks_for(n, vectors), kThreads, 0, gelu_backward_kernel, n, vectors, x, dy, dx);
}

}  // namespace

template <>
void add_gelu(OpsOf<float>& ops) {
  ops.gelu_forward = gelu_forward;
  ops.gelu_backward = gelu_backward;
}
template <>
void add_gelu(OpsOf<bf16>&) {}

}  // namespace wandistill::WD_KERNELS
