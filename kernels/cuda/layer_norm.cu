// Layer norm, forward (ops/layer_norm.h). One block per row; mean first, then the variance around it. Rows of
// up to 8192 aligned channels are read once and stay in registers; others are read three times, from cache.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;

/// The row's tensors; row = blockIdx.x.
struct Row {
  const float *x, *scale, *shift;
  float* y;
};

__device__ __forceinline__ Row row_of(const LayerNormShape& shape, const float* x, const float* scale,
                                      const float* shift, float* y) {
  const int64_t row = blockIdx.x, at = row * shape.channels, modulation = row / shape.tokens * shape.stride;
  return {x + at, scale + modulation, shift + modulation, y + at};
}

__device__ __forceinline__ void store_statistics(float mean, float rstd, float* means, float* rstds) {
  if (threadIdx.x != 0) return;
  means[blockIdx.x] = mean;
  rstds[blockIdx.x] = rstd;
}

/// Any number of channels.
__global__ void __launch_bounds__(kThreads)
    layer_norm_rows(const LayerNormShape shape, const float* __restrict__ x, const float* __restrict__ scale,
                    const float* __restrict__ shift, float* __restrict__ y, float* __restrict__ means,
                    float* __restrict__ rstds) {
  WD_SHARED(float, partial, [kThreads / 32]);
  const Row row = row_of(shape, x, scale, shift, y);
  const int64_t C = shape.channels;
  float sum = 0, squares = 0;
  for (int64_t c = threadIdx.x; c < C; c += kThreads) sum += row.x[c];
  const float mean = block_sum<kThreads>(sum, partial) / static_cast<float>(C);
  for (int64_t c = threadIdx.x; c < C; c += kThreads) squares += (row.x[c] - mean) * (row.x[c] - mean);
  const float variance = block_sum<kThreads>(squares, partial) / static_cast<float>(C);
  const float rstd = rsqrtf(variance + shape.eps);
  for (int64_t c = threadIdx.x; c < C; c += kThreads)
    row.y[c] = (row.x[c] - mean) * rstd * (shape.offset + row.scale[c]) + row.shift[c];
  store_statistics(mean, rstd, means, rstds);
}

/// At most 4 kThreads kVectors channels, a multiple of 4, all rows aligned.
template <int kVectors>
__global__ void __launch_bounds__(kThreads, 2)
    layer_norm_registers(const LayerNormShape shape, const float* __restrict__ x,
                         const float* __restrict__ scale, const float* __restrict__ shift,
                         float* __restrict__ y, float* __restrict__ means, float* __restrict__ rstds) {
  WD_SHARED(float, partial, [kThreads / 32]);
  const Row row = row_of(shape, x, scale, shift, y);
  const int groups = static_cast<int>(shape.channels / 4);
  const auto at = [](auto* tensor, int group) { return reinterpret_cast<const float4*>(tensor) + group; };
  float4 v[kVectors];
  float sum = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int group = static_cast<int>(threadIdx.x) + i * kThreads;
    v[i] = group < groups ? *at(row.x, group) : make_float4(0, 0, 0, 0);
    sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
  }
  const float mean = block_sum<kThreads>(sum, partial) / static_cast<float>(shape.channels);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (static_cast<int>(threadIdx.x) + i * kThreads >= groups) continue;
    v[i] = make_float4(v[i].x - mean, v[i].y - mean, v[i].z - mean, v[i].w - mean);
    squares += (v[i].x * v[i].x + v[i].y * v[i].y) + (v[i].z * v[i].z + v[i].w * v[i].w);
  }
  const float variance = block_sum<kThreads>(squares, partial) / static_cast<float>(shape.channels);
  const float rstd = rsqrtf(variance + shape.eps);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int group = static_cast<int>(threadIdx.x) + i * kThreads;
    if (group >= groups) continue;
    const float4 a = *at(row.scale, group), b = *at(row.shift, group);
    reinterpret_cast<float4*>(row.y)[group] =
        make_float4(v[i].x * rstd * (shape.offset + a.x) + b.x, v[i].y * rstd * (shape.offset + a.y) + b.y,
                    v[i].z * rstd * (shape.offset + a.z) + b.z, v[i].w * rstd * (shape.offset + a.w) + b.w);
  }
  store_statistics(mean, rstd, means, rstds);
}

bool aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % sizeof(float4) == 0;
}

void layer_norm_forward(const LayerNormShape& shape, const float* x, const float* scale, const float* shift,
                        float* y, float* mean, float* rstd, const Queue& queue) {
  constexpr int64_t kPerVector = 4 * kThreads;
  const bool vectors = shape.channels % 4 == 0 && shape.stride % 4 == 0 && aligned(x) && aligned(scale) &&
                       aligned(shift) && aligned(y);
  const auto kernel = !vectors || shape.channels > 8 * kPerVector ? layer_norm_rows
                      : shape.channels <= kPerVector              ? layer_norm_registers<1>
                      : shape.channels <= 2 * kPerVector          ? layer_norm_registers<2>
                      : shape.channels <= 4 * kPerVector          ? layer_norm_registers<4>
                                                                  : layer_norm_registers<8>;
  launch(queue, static_cast<unsigned>(shape.batch * shape.tokens), kThreads, 0, kernel, shape, x, scale,
         shift, y, mean, rstd);
}

}  // namespace

template <>
void add_layer_norm(OpsOf<float>& ops) {
  ops.layer_norm_forward = layer_norm_forward;
}
template <>
void add_layer_norm(OpsOf<bf16>&) {}

}  // namespace wandistill::WD_KERNELS
