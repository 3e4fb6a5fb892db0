// The gated residual, forward and backward (ops/layer_norm.h).
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int64_t kMostBlocks = 1024;    // about as many as a large GPU runs at once
constexpr int kWidth = 32, kHeight = 8;  // of a block: groups of N channels by tokens

struct Shape {
  int64_t tokens, channels, stride;
};

/// Blocks: tiles of channels, tokens (the grid strides over them), samples.
template <class T, int N>
__global__ void __launch_bounds__(kWidth* kHeight)
    gated_residual_kernel(const Shape shape, const T* __restrict__ x, const T* __restrict__ y,
                          const T* __restrict__ gate, T* __restrict__ out) {
  const int64_t c = (int64_t{blockIdx.x} * kWidth + threadIdx.x) * N, sample = blockIdx.z;
  if (c >= shape.channels) return;
  float g[N];
  if (gate != nullptr)
    load(gate + sample * shape.stride + c, g);
  else
#pragma unroll
    for (int k = 0; k < N; ++k) g[k] = 1;
  const int64_t step = int64_t{gridDim.y} * kHeight;
  for (int64_t l = int64_t{blockIdx.y} * kHeight + threadIdx.y; l < shape.tokens; l += step) {
    const int64_t at = (sample * shape.tokens + l) * shape.channels + c;
    float a[N], b[N];
    load(x + at, a);
    load(y + at, b);
#pragma unroll
    for (int k = 0; k < N; ++k) a[k] += g[k] * b[k];
    store(out + at, a);
  }
}

/// The gradient of the gate; that of y is stored on the way, as both need dout.
template <class T>
struct GateTerms {
  const T *y, *gate, *dout;
  T* dy;
  int64_t channels, stride;

  template <int N>
  __device__ __forceinline__ void add(int64_t sample, int64_t row, int64_t column,
                                      float (&sums)[1][N]) const {
    float v[N], d[N], g[N];
    load(y + row * channels + column, v);
    load(dout + row * channels + column, d);
    load(gate + sample * stride + column, g);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      sums[0][k] += v[k] * d[k];
      g[k] *= d[k];
    }
    store(dy + row * channels + column, g);
  }
};

template <class T>
void gated_residual_forward(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const T* x,
                            const T* y, const T* gate, T* out, const Queue& queue) {
  if (batch * tokens * channels == 0) return;
  constexpr int N = kVector<T>;
  const bool vectors = channels % N == 0 && stride % N == 0 && aligned<N>(x, y, gate, out);
  const int64_t width = kWidth * (vectors ? N : 1), tiles = (channels + width - 1) / width;
  const int64_t most = (tokens + kHeight - 1) / kHeight, wanted = kMostBlocks / (tiles * batch) + 1;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(most < wanted ? most : wanted),
                  static_cast<unsigned>(batch));
  launch(queue, grid, dim3(kWidth, kHeight), 0,
         vectors ? gated_residual_kernel<T, N> : gated_residual_kernel<T, 1>, Shape{tokens, channels, stride},
         x, y, gate, out);
}

template <class T>
void gated_residual_backward(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const T* y,
                             const T* gate, const T* dout, T* dy, float* dgate, const Queue& queue) {
  const bool vectors = channels % 4 == 0 && stride % 4 == 0 && aligned<4>(y, gate, dout, dy);
  sum_columns<1>(ColumnShape{batch, tokens, channels}, vectors,
                 GateTerms<T>{y, gate, dout, dy, channels, stride}, ColumnTargets<1>{{dgate}, stride}, queue);
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
