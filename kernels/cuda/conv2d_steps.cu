// conv2d_forward (ops/conv2d.h) in steps around a plain convolution that is not ours: norm and SiLU,
// doubling, weights in the library's order, that convolution, bias and residual.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/transpose.h"
#include "wandistill/gpu.h"
#include "wandistill/kernel_ops.h"

namespace wandistill::WD_KERNELS {
namespace {

/// y [2 h, 2 w, C]: each pixel of x [h, w, C] four times; groups of N channels.
template <class T, int N>
__global__ void __launch_bounds__(kElementThreads)
    double_picture_kernel(int64_t height, int64_t width, int64_t channels, const T* __restrict__ x,
                          T* __restrict__ y) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x, row = width * channels;
  for (int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * N; i < height * row; i += step * N) {
    float v[N];
    load(x + i, v);
    const int64_t pixel = i / channels;
    T* to = y + i % channels + (pixel / width * 4 * width + pixel % width * 2) * channels;
    store(to, v);
    store(to + channels, v);
    store(to + 2 * row, v);
    store(to + 2 * row + channels, v);
  }
}

template <class T>
void double_picture(int64_t height, int64_t width, int64_t channels, const T* x, T* y, const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = channels % N == 0 && aligned<N>(x);
  launch(queue, element_blocks<N>(height * width * channels, vectors), kElementThreads, 0,
         vectors ? double_picture_kernel<T, N> : double_picture_kernel<T, 1>, height, width, channels, x, y);
}

/// y [n] = product + bias of its channel + residual (may be null). y may be either of these.
template <class T>
__global__ void __launch_bounds__(kElementThreads)
    add_bias_kernel(int64_t n, int64_t channels, bool vectors, const T* product, const T* __restrict__ bias,
                    const T* residual, T* y) {
  for_each<kVector<T>>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float v[N], b[N], r[N] = {};
    load(product + i, v);
    load(bias + i % channels, b);
    if (residual != nullptr) load(residual + i, r);
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] += b[k] + r[k];
    store(y + i, v);
  });
}

template <class T>
void add_bias(int64_t n, int64_t channels, const T* product, const T* bias, const T* residual, T* y,
              const Queue& queue) {
  constexpr int N = kVector<T>;
  const bool vectors = channels % N == 0 && aligned<N>(product, bias, residual, static_cast<const T*>(y));
  launch(queue, element_blocks<N>(n, vectors), kElementThreads, 0, add_bias_kernel<T>, n, channels, vectors,
         product, bias, residual, y);
}

}  // namespace

template <class T>
void conv2d_in_steps(const Conv2dShape& shape, const T* x, const T* gamma, const T* weight, const T* bias,
                     const T* residual, T* y, const Queue& queue, const PlainConv2d<T>& convolve) {
  Stream& stream = *queue.stream;
  const int64_t pixels = shape.height * shape.width, taps = shape.kernel * shape.kernel;
  const int64_t outputs = shape.out_height() * shape.out_width() * shape.c_out;
  DeviceBuffer<T> normed, doubled, turned(stream, taps * shape.c_in * shape.c_out), product;
  if (gamma != nullptr) {
    normed = DeviceBuffer<T>(stream, pixels * shape.c_in);
    kernel_ops<T>().rms_norm_silu_forward(pixels, shape.c_in, x, gamma, true, normed.data(), queue);
    x = normed.data();
  }
  if (shape.upsample) {
    doubled = DeviceBuffer<T>(stream, 4 * pixels * shape.c_in);
    double_picture(shape.height, shape.width, shape.c_in, x, doubled.data(), queue);
    x = doubled.data();
  }
  transpose(taps * shape.c_in, shape.c_out, weight, turned.data(), queue);
  if (residual == y) product = DeviceBuffer<T>(stream, outputs);
  T* to = residual == y ? product.data() : y;
  convolve({shape.out_height(), shape.out_width(), shape.c_in, shape.c_out, shape.kernel, false}, x,
           turned.data(), to);
  add_bias(outputs, shape.c_out, static_cast<const T*>(to), bias, residual, y, queue);
}
template void conv2d_in_steps(const Conv2dShape&, const float*, const float*, const float*, const float*,
                              const float*, float*, const Queue&, const PlainConv2d<float>&);
template void conv2d_in_steps(const Conv2dShape&, const bf16*, const bf16*, const bf16*, const bf16*,
                              const bf16*, bf16*, const Queue&, const PlainConv2d<bf16>&);

}  // namespace wandistill::WD_KERNELS
