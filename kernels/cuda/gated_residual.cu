// The gated residual, forward and backward (ops/layer_norm.h).
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 4096;

struct Shape {
  int64_t groups;   // of N channels, in all
  int64_t per_row;  // of them
  int64_t tokens, channels, stride;
};

/// body(i, modulation): the element and gate index of every group of N channels.
template <int N, class Body>
__device__ __forceinline__ void each_group(const Shape& shape, Body body) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t g = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; g < shape.groups; g += step) {
    const int64_t row = g / shape.per_row, c = (g - row * shape.per_row) * N;
    body(row * shape.channels + c, row / shape.tokens * shape.stride + c);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    gated_residual_kernel(const Shape shape, const T* __restrict__ x, const T* __restrict__ y,
                          const T* __restrict__ gate, T* __restrict__ out) {
  each_group<N>(shape, [&](int64_t i, int64_t modulation) {
    float a[N], b[N], g[N];
    load(x + i, a);
    load(y + i, b);
    if (gate != nullptr)
      load(gate + modulation, g);
    else
#pragma unroll
      for (int k = 0; k < N; ++k) g[k] = 1;
#pragma unroll
    for (int k = 0; k < N; ++k) a[k] += g[k] * b[k];
    store(out + i, a);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    gated_residual_dy_kernel(const Shape shape, const T* __restrict__ gate, const T* __restrict__ dout,
                             T* __restrict__ dy) {
  each_group<N>(shape, [&](int64_t i, int64_t modulation) {
    float d[N], g[N];
    load(dout + i, d);
    load(gate + modulation, g);
#pragma unroll
    for (int k = 0; k < N; ++k) d[k] *= g[k];
    store(dy + i, d);
  });
}

template <class T>
struct GateTerms {
  const T *y, *dout;
  int64_t channels;

  template <int N>
  __device__ __forceinline__ void add(int64_t row, int64_t column, float (&sums)[1][N]) const {
    float v[N], d[N];
    load(y + row * channels + column, v);
    load(dout + row * channels + column, d);
#pragma unroll
    for (int k = 0; k < N; ++k) sums[0][k] += v[k] * d[k];
  }
};

unsigned blocks_for(const Shape& shape) {
  const int64_t blocks = (shape.groups + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

Shape shape_of(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, int N) {
  return {batch * tokens * channels / N, channels / N, tokens, channels, stride};
}

template <class T>
void gated_residual_forward(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const T* x,
                            const T* y, const T* gate, T* out, const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = channels % N == 0 && stride % N == 0 && aligned<N>(x, y, gate, out);
  const Shape shape = shape_of(batch, tokens, channels, stride, vectors ? N : 1);
  launch(queue, blocks_for(shape), kThreads, 0,
         vectors ? gated_residual_kernel<T, N> : gated_residual_kernel<T, 1>, shape, x, y, gate, out);
}

template <class T>
void gated_residual_backward(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const T* y,
                             const T* gate, const T* dout, T* dy, float* dgate, const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = channels % N == 0 && stride % N == 0 && aligned<N>(y, gate, dout, dy);
  const Shape shape = shape_of(batch, tokens, channels, stride, vectors ? N : 1);
  launch(queue, blocks_for(shape), kThreads, 0,
         vectors ? gated_residual_dy_kernel<T, N> : gated_residual_dy_kernel<T, 1>, shape, gate, dout, dy);
  sum_columns<1>(ColumnShape{batch, tokens, channels}, vectors, GateTerms<T>{y, dout, channels},
                 ColumnTargets<1>{{dgate}, stride}, queue);
}

}  // namespace

template <class T>
void add_gated_residual(OpsOf<T>& ops) {
  ops.gated_residual_forward = gated_residual_forward<T>;
  ops.gated_residual_backward = gated_residual_backward<T>;
}
template void add_gated_residual(OpsOf<float>&);
template void add_gated_residual(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
