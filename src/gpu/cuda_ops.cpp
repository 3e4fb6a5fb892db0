// The CUDA device's ops: kernels, and cuBLASLt's products.
#include "src/gpu/cuda_products.h"
#include "wandistill/device_ops.h"
#include "wandistill/error.h"
#include "wandistill/kernel_ops.h"
#include "wandistill/op_memory.h"

namespace wandistill {
namespace {

template <class T>
constexpr cudaDataType_t kType = std::is_same_v<T, bf16> ? CUDA_R_16BF : CUDA_R_32F;

bool try_product(const CudaProduct& product, const Queue& queue) {
  CudaStream& stream = cuda_stream(queue);
  return stream.device().products().run(product, stream);
}

void run_product(const CudaProduct& product, const Queue& queue) {
  const MatmulShape& s = product.shape;
  if (!try_product(product, queue))
    fail("cuBLASLt has no algorithm for a product of m ", s.m, ", n ", s.n, ", k ", s.k, " with strides ",
         s.lda, ", ", s.ldb, ", ", s.ldc);
}

template <class T>
void matmul(const MatmulShape& shape, const T* a, const T* b, T* c, const Queue& queue) {
  run_product({shape, kType<T>, kType<T>, a, b, c}, queue);
}

template <class T>
void linear_forward(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* bias, T* y,
                    const Queue& queue) {
  run_product({MatmulShape::dense(m, n, k, false, true), kType<T>, kType<T>, x, weight, y, bias}, queue);
}

template <class T>
void linear_gelu_forward(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* bias, T* raw,
                         T* act, const Queue& queue) {
  const CudaProduct fused = {
      MatmulShape::dense(m, n, k, false, true), kType<T>, kType<T>, x, weight, act, bias, raw};
  if (n % 8 == 0 && try_product(fused, queue)) return;
  linear_forward(m, n, k, x, weight, bias, raw, queue);
  cuda::kernel_ops<T>().gelu_forward(m * n, raw, act, queue);
}

template <class T>
void linear_backward(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* dy, T* dx,
                     bool accumulate_dx, float* dweight, bool accumulate_dweight, float* dbias,
                     const Queue& queue) {
  if (dweight && m == 0 && !accumulate_dweight) fill_zero(queue, dweight, n * k);
  if (dbias && !accumulate_dweight) fill_zero(queue, dbias, n);
  if (m == 0) return;
  if (dx)
    run_product({MatmulShape::dense(m, k, n, false, false, accumulate_dx ? 1.0f : 0.0f), kType<T>, kType<T>,
                 dy, weight, dx},
                queue);
  if (dweight)
    run_product({MatmulShape::dense(n, k, m, true, false, accumulate_dweight ? 1.0f : 0.0f), kType<T>,
                 CUDA_R_32F, dy, x, dweight},
                queue);
  // The library's epilogue for the bias would overwrite what is there.
  if (dbias) cuda::kernel_ops<T>().add_column_sums(m, n, dy, dbias, queue);
}

}  // namespace

template <class T>
const OpsOf<T>& cuda_ops() {
  static const OpsOf<T> table = [] {
    OpsOf<T> ops = cuda::kernel_ops<T>();
    ops.linear_forward = linear_forward<T>;
    ops.linear_gelu_forward = linear_gelu_forward<T>;
    ops.linear_backward = linear_backward<T>;
    ops.matmul = matmul<T>;
    return ops;
  }();
  return table;
}
template const OpsOf<float>& cuda_ops();
template const OpsOf<bf16>& cuda_ops();

}  // namespace wandistill
