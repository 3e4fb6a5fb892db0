// Layer norm, forward and backward (ops/layer_norm.h). One block per row; mean first, then the variance
// around it. Rows of up to 8192 aligned channels are read once and stay in registers; others are read again,
// from cache.
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;

/// The thread's elements of a row: groups of N, kThreads apart, the first kGroups of them kept in registers
/// (0: none is, all are read again each time).
template <class T, int N, int kGroups>
struct RowOf {
  const T* row;
  int64_t channels;
  float kept[kGroups > 0 ? kGroups : 1][N];

  __device__ __forceinline__ RowOf(const T* at, int64_t C) : row(at), channels(C) {
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
#pragma unroll
      for (int k = 0; k < N; ++k) kept[i][k] = 0;
      if (channel(i) < channels) load(row + channel(i), kept[i]);
    }
  }
  static __device__ __forceinline__ int64_t channel(int64_t i) {
    return (static_cast<int64_t>(threadIdx.x) + i * kThreads) * N;
  }
  /// body(i, channel, values [N]) for every group.
  template <class Body>
  __device__ __forceinline__ void each(Body body) {
    if constexpr (kGroups > 0) {
#pragma unroll
      for (int i = 0; i < kGroups; ++i)
        if (channel(i) < channels) body(i, channel(i), kept[i]);
    } else {
      for (int64_t i = 0; channel(i) < channels; ++i) {
        float values[N];
        load(row + channel(i), values);
        body(static_cast<int>(i), channel(i), values);
      }
    }
  }
};

template <class T, int N, int kGroups>
__global__ void __launch_bounds__(kThreads, kGroups == 0 || kGroups > 4 ? 2 : 4)
    layer_norm_kernel(const LayerNormShape shape, const T* __restrict__ x, const T* __restrict__ scale,
                      const T* __restrict__ shift, T* __restrict__ y, float* __restrict__ means,
                      float* __restrict__ rstds) {
  WD_SHARED(float, partial, [kThreads / 32]);
  const int64_t row = blockIdx.x, C = shape.channels, modulation = row / shape.tokens * shape.stride;
  RowOf<T, N, kGroups> values(x + row * C, C);
  float sum = 0, squares = 0;
  values.each([&](int, int64_t, float(&v)[N]) {
#pragma unroll
    for (int k = 0; k < N; ++k) sum += v[k];
  });
  const float mean = block_sum<kThreads>(sum, partial) / static_cast<float>(C);
  values.each([&](int, int64_t, float(&v)[N]) {
#pragma unroll
    for (int k = 0; k < N; ++k) squares += (v[k] - mean) * (v[k] - mean);
  });
  const float variance = block_sum<kThreads>(squares, partial) / static_cast<float>(C);
  const float rstd = rsqrtf(variance + shape.eps);
  values.each([&](int, int64_t c, float(&v)[N]) {
    float a[N], b[N];
    load(scale + modulation + c, a);
    load(shift + modulation + c, b);
#pragma unroll
    for (int k = 0; k < N; ++k) a[k] = (v[k] - mean) * rstd * (shape.offset + a[k]) + b[k];
    store(y + row * C + c, a);
  });
  if (threadIdx.x != 0) return;
  means[row] = mean;
  rstds[row] = rstd;
}

/// dx += rstd (g - mean(g) - normed mean(g normed)), g = dy (offset + scale), normed = (x - mean) rstd.
template <class T, int N, int kGroups>
__global__ void __launch_bounds__(kThreads, kGroups > 4 ? 1 : 2)
    layer_norm_dx_kernel(const LayerNormShape shape, const T* __restrict__ x, const T* __restrict__ scale,
                         const float* __restrict__ means, const float* __restrict__ rstds,
                         const T* __restrict__ dy, T* __restrict__ dx) {
  WD_SHARED(float, partial, [kThreads / 32]);
  const int64_t row = blockIdx.x, C = shape.channels, modulation = row / shape.tokens * shape.stride;
  const float mean = means[row], rstd = rstds[row];
  RowOf<T, N, kGroups> xs(x + row * C, C);
  float sum_g = 0, sum_gx = 0;
  const auto gradient = [&](int64_t c, float(&g)[N]) {
    float a[N];
    load(dy + row * C + c, g);
    load(scale + modulation + c, a);
#pragma unroll
    for (int k = 0; k < N; ++k) g[k] *= shape.offset + a[k];
  };
  float kept[kGroups > 0 ? kGroups : 1][N] = {};  // g
  xs.each([&](int i, int64_t c, float(&v)[N]) {
    float(&g)[N] = kept[kGroups > 0 ? i : 0];
    gradient(c, g);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      sum_g += g[k];
      sum_gx += g[k] * (v[k] - mean) * rstd;
    }
  });
  const float mean_g = block_sum<kThreads>(sum_g, partial) / static_cast<float>(C);
  const float mean_gx = block_sum<kThreads>(sum_gx, partial) / static_cast<float>(C);
  xs.each([&](int i, int64_t c, float(&v)[N]) {
    float(&g)[N] = kept[kGroups > 0 ? i : 0];
    if constexpr (kGroups == 0) gradient(c, g);
    float d[N];
    load(dx + row * C + c, d);
#pragma unroll
    for (int k = 0; k < N; ++k) d[k] += rstd * (g[k] - mean_g - (v[k] - mean) * rstd * mean_gx);
    store(dx + row * C + c, d);
  });
}

/// The gradients of scale and shift.
template <class T>
struct ScaleShiftTerms {
  const T *x, *dy;
  const float *mean, *rstd;
  int64_t channels;

  template <int N>
  __device__ __forceinline__ void add(int64_t, int64_t row, int64_t column, float (&sums)[2][N]) const {
    float v[N], d[N];
    load(x + row * channels + column, v);
    load(dy + row * channels + column, d);
    const float m = mean[row], r = rstd[row];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      sums[0][k] += d[k] * (v[k] - m) * r;
      sums[1][k] += d[k];
    }
  }
};

/// use(Groups<N, kGroups>) with what fits the rows.
template <int N, int kGroups>
struct Groups {};
template <class Use>
void choose_groups(int64_t channels, bool vectors, Use use) {
  constexpr int64_t kPerGroup = 4 * kThreads;
  if (!vectors) return use(Groups<1, 0>());
  if (channels <= kPerGroup) return use(Groups<4, 1>());
  if (channels <= 2 * kPerGroup) return use(Groups<4, 2>());
  if (channels <= 4 * kPerGroup) return use(Groups<4, 4>());
  if (channels <= 8 * kPerGroup) return use(Groups<4, 8>());
  use(Groups<4, 0>());
}

template <class T>
void layer_norm_forward(const LayerNormShape& shape, const T* x, const T* scale, const T* shift, T* y,
                        float* mean, float* rstd, const Queue& queue) {
  const bool vectors = shape.channels % 4 == 0 && shape.stride % 4 == 0 && aligned<4>(x, scale, shift, y);
  choose_groups(shape.channels, vectors, [&]<int N, int kGroups>(Groups<N, kGroups>) {
    launch(queue, static_cast<unsigned>(shape.batch * shape.tokens), kThreads, 0,
           layer_norm_kernel<T, N, kGroups>, shape, x, scale, shift, y, mean, rstd);
  });
}

template <class T>
void layer_norm_backward(const LayerNormShape& shape, const T* x, const T* scale, const float* mean,
                         const float* rstd, const T* dy, T* dx, float* dscale, float* dshift,
                         const Queue& queue) {
  const int64_t C = shape.channels;
  const bool vectors = C % 4 == 0 && shape.stride % 4 == 0 && aligned<4>(x, scale, dy, dx);
  choose_groups(C, vectors, [&]<int N, int kGroups>(Groups<N, kGroups>) {
    launch(queue, static_cast<unsigned>(shape.batch * shape.tokens), kThreads, 0,
           layer_norm_dx_kernel<T, N, kGroups>, shape, x, scale, mean, rstd, dy, dx);
  });
  const ColumnShape rows = shape.stride ? ColumnShape{shape.batch, shape.tokens, C}
                                        : ColumnShape{1, shape.batch * shape.tokens, C};
  sum_columns<2>(rows, vectors, ScaleShiftTerms<T>{x, dy, mean, rstd, C},
                 ColumnTargets<2>{{dscale, dshift}, shape.stride}, queue);
}

}  // namespace

template <class T>
void add_layer_norm(OpsOf<T>& ops) {
  ops.layer_norm_forward = layer_norm_forward<T>;
  ops.layer_norm_backward = layer_norm_backward<T>;
}
template void add_layer_norm(OpsOf<float>&);
template void add_layer_norm(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
