// RMS norm over all channels of a query or key and rotary embedding, forward and backward
// (ops/qk_norm_rope.h). One block per row; the second pass over the row reads it from cache.
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;

/// The N (even) channels from `at` on: one access if they may be read so.
template <int N, bool kAligned, class T>
__device__ __forceinline__ void load_pairs(const T* at, float (&values)[N]) {
  if constexpr (kAligned)
    load(at, values);
  else
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = widen(at[k]);
}
template <int N, bool kAligned, class T>
__device__ __forceinline__ void store_pairs(T* at, const float (&values)[N]) {
  if constexpr (kAligned)
    store(at, values);
  else
#pragma unroll
    for (int k = 0; k < N; ++k) at[k] = narrow<T>(values[k]);
}

/// The angles of one row.
struct Angles {
  const float *cos, *sin;  // [D / 2], null: no rotation

  __device__ __forceinline__ Angles(const QkNormShape& s, int64_t row, const float* c, const float* si) {
    // There are fewer than 2^31 rows, one block each.
    const int64_t at =
        int64_t{static_cast<unsigned>(row) % static_cast<unsigned>(s.positions)} * (s.head_dim / 2);
    cos = c != nullptr ? c + at : nullptr;
    sin = c != nullptr ? si + at : nullptr;
  }
  /// Turns the pairs of channels [channel, channel + N) of a row, all of one head; backward if kBack.
  template <int N, bool kBack>
  __device__ __forceinline__ void turn(const QkNormShape& s, int64_t channel, float (&v)[N]) const {
    if (cos == nullptr) return;
    // Within a row 32 bits suffice, and divide faster.
    const unsigned pair = static_cast<unsigned>(channel) % static_cast<unsigned>(s.head_dim) / 2;
    float co[N / 2], si[N / 2];
    load(cos + pair, co);
    load(sin + pair, si);
#pragma unroll
    for (int k = 0; k < N / 2; ++k) {
      const float sine = kBack ? -si[k] : si[k], a = v[2 * k], b = v[2 * k + 1];
      v[2 * k] = a * co[k] - b * sine;
      v[2 * k + 1] = a * sine + b * co[k];
    }
  }
};

template <class T, int N, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    qk_norm_rope_kernel(const QkNormShape shape, const T* __restrict__ x, const T* __restrict__ weight,
                        const float* __restrict__ cos, const float* __restrict__ sin, T* __restrict__ y,
                        float* __restrict__ rstds) {
  WD_SHARED(float, partial, [kThreads / 32]);
  const int64_t row = blockIdx.x, C = shape.heads * shape.head_dim;
  const Angles angles(shape, row, cos, sin);
  const T* in = x + row * C;
  float squares = 0;
  for (int64_t c = int64_t{threadIdx.x} * N; c < C; c += kThreads * N) {
    float v[N];
    load_pairs<N, kAligned>(in + c, v);
#pragma unroll
    for (int k = 0; k < N; ++k) squares += v[k] * v[k];
  }
  const float rstd = rsqrtf(block_sum<kThreads>(squares, partial) / static_cast<float>(C) + shape.eps);
  for (int64_t c = int64_t{threadIdx.x} * N; c < C; c += kThreads * N) {
    float v[N], w[N];
    load_pairs<N, kAligned>(in + c, v);
    load_pairs<N, kAligned>(weight + c, w);
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] *= rstd * w[k];
    angles.turn<N, false>(shape, c, v);
    store_pairs<N, kAligned>(y + row * C + c, v);
  }
  if (threadIdx.x == 0) rstds[row] = rstd;
}

/// dx = rstd (g weight - x rstd mean(g weight x rstd)), g = dy turned back. dx may be dy: no __restrict__.
template <class T, int N, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    qk_norm_rope_dx_kernel(const QkNormShape shape, const T* __restrict__ x, const T* __restrict__ weight,
                           const float* __restrict__ cos, const float* __restrict__ sin,
                           const float* __restrict__ rstds, const T* dy, T* dx) {
  WD_SHARED(float, partial, [kThreads / 32]);
  const int64_t row = blockIdx.x, C = shape.heads * shape.head_dim;
  const Angles angles(shape, row, cos, sin);
  const float rstd = rstds[row];
  float sum = 0;
  for (int64_t c = int64_t{threadIdx.x} * N; c < C; c += kThreads * N) {
    float v[N], w[N], g[N];
    load_pairs<N, kAligned>(x + row * C + c, v);
    load_pairs<N, kAligned>(weight + c, w);
    load_pairs<N, kAligned>(dy + row * C + c, g);
    angles.turn<N, true>(shape, c, g);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += g[k] * w[k] * v[k] * rstd;
  }
  const float mean = block_sum<kThreads>(sum, partial) / static_cast<float>(C);
  for (int64_t c = int64_t{threadIdx.x} * N; c < C; c += kThreads * N) {
    float v[N], w[N], g[N];
    load_pairs<N, kAligned>(x + row * C + c, v);
    load_pairs<N, kAligned>(weight + c, w);
    load_pairs<N, kAligned>(dy + row * C + c, g);
    angles.turn<N, true>(shape, c, g);
#pragma unroll
    for (int k = 0; k < N; ++k) g[k] = rstd * (g[k] * w[k] - v[k] * rstd * mean);
    store_pairs<N, kAligned>(dx + row * C + c, g);
  }
}

/// The gradient of the weight.
template <class T>
struct WeightTerms {
  QkNormShape shape;
  const T *x, *dy;
  const float *cos, *sin, *rstd;

  template <int N>
  __device__ __forceinline__ void add(int64_t, int64_t row, int64_t column, float (&sums)[1][N]) const {
    const int64_t C = shape.heads * shape.head_dim;
    const Angles angles(shape, row, cos, sin);
    if constexpr (N == 1) {  // its pair's other half is another thread's
      const int64_t even = column / 2 * 2;
      float g[2];
      load_pairs<2, false>(dy + row * C + even, g);
      angles.turn<2, true>(shape, even, g);
      sums[0][0] += g[column - even] * widen(x[row * C + column]) * rstd[row];
    } else {
      float v[N], g[N];
      load(x + row * C + column, v);
      load(dy + row * C + column, g);
      angles.turn<N, true>(shape, column, g);
#pragma unroll
      for (int k = 0; k < N; ++k) sums[0][k] += g[k] * v[k] * rstd[row];
    }
  }
};

template <class T>
void qk_norm_rope_forward(const QkNormShape& shape, const T* x, const T* weight, const float* cos,
                          const float* sin, T* y, float* rstd, const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = shape.head_dim % N == 0 && aligned<N>(x, weight, y) && aligned<N / 2>(cos, sin);
  launch(queue, static_cast<unsigned>(shape.rows), kThreads, 0,
         vectors ? qk_norm_rope_kernel<T, N, true> : qk_norm_rope_kernel<T, 2, false>, shape, x, weight, cos,
         sin, y, rstd);
}

template <class T>
void qk_norm_rope_backward(const QkNormShape& shape, const T* x, const T* weight, const float* cos,
                           const float* sin, const float* rstd, const T* dy, T* dx, float* dweight,
                           const Queue& queue) {
  constexpr int N = kVector<T>;
  const int64_t C = shape.heads * shape.head_dim;
  const bool vectors = shape.head_dim % N == 0 && aligned<N>(x, weight, dy, dx) && aligned<N / 2>(cos, sin);
  // First, as dx may overwrite dy.
  sum_columns<1>(ColumnShape{1, shape.rows, C}, vectors, WeightTerms<T>{shape, x, dy, cos, sin, rstd},
                 ColumnTargets<1>{{dweight}, 0}, queue);
  launch(queue, static_cast<unsigned>(shape.rows), kThreads, 0,
         vectors ? qk_norm_rope_dx_kernel<T, N, true> : qk_norm_rope_dx_kernel<T, 2, false>, shape, x, weight,
         cos, sin, rstd, dy, dx);
}

}  // namespace

template <class T>
void add_qk_norm_rope(OpsOf<T>& ops) {
  ops.qk_norm_rope_forward = qk_norm_rope_forward<T>;
  ops.qk_norm_rope_backward = qk_norm_rope_backward<T>;
}
template void add_qk_norm_rope(OpsOf<float>&);
template void add_qk_norm_rope(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
